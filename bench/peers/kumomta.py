"""KumoMTA, which Debian does not have: where KUMOMTA names its binary (kumod) it takes part."""
import os

from .adapter import HERE, Engine, Missing, Setting, lines, run

KUMOD = "KUMOMTA"


class Kumomta(Engine):
    name = "kumomta"
    users = {"kumod": ["kumod"]}
    DURABILITY = "message and metadata synced before it acknowledges (flush = true; its default is not to)"
    # In their order they are the policy.
    SETTINGS = [
        Setting("local kumo = require 'kumo'", HERE, "userguide: Configuration Concepts"),
        Setting("kumo.on('init', function()", HERE, "reference: init"),
        Setting("kumo.start_esmtp_listener { listen = '127.0.0.1:2525', hostname = '{hostname}',", HERE,
                "reference: start_esmtp_listener"),
        Setting("  relay_hosts = { '127.0.0.0/8' } }", HERE, "reference: start_esmtp_listener"),
        Setting("kumo.define_spool { name = 'data', path = '{directory}/spool/data', flush = true }",
                "durable like the others", "reference: define_spool, flush"),
        Setting("kumo.define_spool { name = 'meta', path = '{directory}/spool/meta', flush = true }",
                "durable like the others", "reference: define_spool, flush"),
        Setting("end)", HERE, "reference: init"),
        Setting("kumo.on('get_egress_path_config', function(domain, source, site)", HERE,
                "userguide: Configuring Traffic Shaping"),
        Setting("return kumo.make_egress_path { connection_limit = 100, enable_tls = 'Disabled' }",
                "connections as the others have; the receivers offer no TLS", "reference: make_egress_path"),
        Setting("end)", HERE, "userguide: Configuring Traffic Shaping"),
    ]

    @classmethod
    def fetch(cls, cache):
        if not os.access(os.environ.get(KUMOD, ""), os.X_OK):
            raise Missing(f"kumomta takes part where {KUMOD} names its binary: "
                          f"{KUMOD}=/opt/kumomta/sbin/kumod make compare")
        return []

    def configure(self):
        os.makedirs(self.path("spool"))
        self.write("init.lua", lines(self.SETTINGS, directory=self.directory, hostname=self.scene.hostname))
        run("chown", "kumod:kumod", self.path("spool"), check=True)

    def command(self):
        return [os.environ[KUMOD], "--policy", self.path("init.lua"), "--user", "kumod"]

    def left(self):
        return [os.path.join(place, name) for spool in ("data", "meta")
                for place, _, names in os.walk(self.path("spool", spool, "data")) for name in names]

    def empty(self):
        return not self.left()

    def waiting(self):
        return "\n".join(self.left()[:50])

    def version(self):
        return "KumoMTA " + run(os.environ[KUMOD], "--version").stdout.strip()
