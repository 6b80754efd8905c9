"""Postfix, Exim or OpenSMTPD that accepts everything and hands it on to one host: what that refuses, it
bounces. usage: unshare --mount --pid --fork --kill-child --mount-proc bouncer.py ENGINE DIRECTORY CACHE PORT
NEXT_PORT [COMMAND], the last for Postfix: mail for bounces+ANYTHING@sender.test is piped to it, as nobody

Listens on 127.0.7.2; the next host, also for the bounces, is 127.0.7.1. Runs as root in mounts of its own,
where the engine is seen as if it were installed: in Debian these conflict with one another. Programs come
from the packages that `make compare` uses."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../bench"))
from peers import ENGINES, exim, opensmtpd, postfix, space  # noqa: E402

HOSTNAME = "mx.peer.test"

EXIM = """primary_hostname = {hostname}
spool_directory = {directory}/spool
log_file_path = {directory}/log/%slog
local_interfaces = 127.0.7.2.{port}
acl_smtp_rcpt = accept
keep_environment =
tls_advertise_hosts =
disable_ipv6 = true
begin routers
next:
  driver = manualroute
  route_list = * 127.0.7.1
  transport = next
  self = send
begin transports
next:
  driver = smtp
  port = {next}
  allow_localhost
begin retry
* * F,1h,2s
"""

OPENSMTPD = """listen on 127.0.7.2 port {port} hostname {hostname}
action "next" relay host smtp://127.0.7.1:{next} helo {hostname}
match from any for any action "next"
"""

POSTFIX = """compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
mail_owner = postfix
setgid_group = postdrop
myhostname = {hostname}
mydestination = {local}
recipient_delimiter = +
default_privs = nobody
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
alias_maps = texthash:{directory}/etc/aliases
local_recipient_maps =
relayhost = [127.0.7.1]:{next}
smtp_tls_security_level = none
smtpd_tls_security_level = none
maillog_file = /dev/stdout
"""


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)


def prepare(engine, directory, values):
    """Writes the configuration; the command, and directories to be seen at places: {place: directory}."""
    if engine == "postfix":
        write(f"{directory}/etc/main.cf", POSTFIX.format(**values))
        write(f"{directory}/etc/master.cf",
              postfix.MASTER.replace("127.0.0.1:2525", f"127.0.7.2:{values['port']}"))
        write(f"{directory}/etc/aliases", f'bounces "|{values["command"]}"\n')
        for name in "queue", "data":
            os.makedirs(f"{directory}/{name}")
        space.call("chown", "postfix", f"{directory}/data")
        return ["/usr/sbin/postfix", "-c", f"{directory}/etc", "start-fg"], {}
    os.makedirs(f"{directory}/spool")
    if engine == "exim":
        os.makedirs(f"{directory}/log")
        space.call("chown", "-R", "Debian-exim:Debian-exim", f"{directory}/spool", f"{directory}/log")
        return [exim.EXIM, "-bdf", "-q2s"], {}
    os.chmod(f"{directory}/spool", 0o711)
    write(f"{directory}/smtpd.conf", OPENSMTPD.format(**values), 0o600)
    return [opensmtpd.SMTPD, "-d", "-f", f"{directory}/smtpd.conf"], {opensmtpd.SPOOL: f"{directory}/spool"}


def main():
    engine, directory, cache, port, following, *command = sys.argv[1:]
    values = {"hostname": HOSTNAME, "directory": directory, "port": port, "next": following,
              "local": "sender.test" if command else "", "command": "".join(command)}
    layers = ENGINES[engine].fetch(cache)
    space.call("mount", "--make-rprivate", "/")
    for name, text in space.with_users(ENGINES[engine].users).items():
        write(f"{directory}/layer/{name}", text)
    write(f"{directory}/layer/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n")
    write(f"{directory}/layer/hosts", f"127.0.0.1 localhost\n127.0.7.2 {HOSTNAME}\n")
    write(f"{directory}/layer/mailname", HOSTNAME + "\n")
    write(f"{directory}/layer/exim4/exim4.conf", EXIM.format(**values))
    space.lay_over("/etc", [f"{directory}/layer"])
    for place in "usr", "var/lib":
        space.lay_over("/" + place, [os.path.join(layer, place) for layer in layers])
    for place in "/var/spool", "/run":  # OpenSMTPD's control socket has one name
        space.call("mount", "-t", "tmpfs", "-o", "mode=755", "bouncer", place)
    command, places = prepare(engine, directory, values)
    for place, seen in places.items():
        space.bind(seen, place)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
