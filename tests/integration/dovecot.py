"""Dovecot, as Debian has it, for what a test asks: who may log in at a Postfix, and LMTP.

    with Dovecot(users={"tim": "secret"}) as dovecot:
        dovecot.auth            # the socket that Postfix's smtpd_sasl_path names
        dovecot.lmtp_socket     # LMTP on a Unix socket, and
        dovecot.lmtp            # (address, port)
        dovecot.messages()      # what is in its maildirs, by user: [(user, content)]"""
import glob
import os
import shutil
import subprocess
import tempfile

from daemon import free_port, wait_for

CONFIG = """\
base_dir = {directory}/run
state_dir = {directory}/state
log_path = {directory}/log
auth_verbose = yes
protocols = lmtp
listen = 127.0.7.9
ssl = no
mail_location = maildir:{directory}/mail/%n
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
default_internal_user = nobody
default_login_user = nobody
default_internal_group = nogroup
lmtp_save_to_detail_mailbox = no
auth_mechanisms = {mechanisms}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%n {directory}/users
}}
userdb {{
  driver = passwd-file
  args = username_format=%n {directory}/users
  default_fields = uid=nobody gid=nogroup home={directory}/mail/%n
}}
service auth {{
  unix_listener {directory}/auth {{
    mode = 0666
  }}
}}
service lmtp {{
  unix_listener {directory}/lmtp {{
    mode = 0666
  }}
  inet_listener {{
    address = 127.0.7.9
    port = {port}
  }}
}}
"""


class Dovecot:
    name = "dovecot"

    def __init__(self, users, mechanisms="plain login scram-sha-256"):
        self.users, self.mechanisms = users, mechanisms

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="dovecot-", dir=os.environ.get("TMPDIR", "/var/tmp"))
        os.chmod(self.directory, 0o755)
        for name in ("mail", "run", "state"):
            os.mkdir(os.path.join(self.directory, name))
        os.chmod(os.path.join(self.directory, "mail"), 0o777)
        port = free_port()
        with open(os.path.join(self.directory, "conf"), "w", encoding="ascii") as file:
            file.write(CONFIG.format(directory=self.directory, mechanisms=self.mechanisms, port=port))
        with open(os.path.join(self.directory, "users"), "w", encoding="ascii") as file:
            file.writelines(f"{user}:{{PLAIN}}{password}::::::\n" for user, password in self.users.items())
        self.auth = os.path.join(self.directory, "auth")
        self.lmtp_socket = os.path.join(self.directory, "lmtp")
        self.lmtp = ("127.0.7.9", port)
        self.process = subprocess.Popen(["dovecot", "-F", "-c", os.path.join(self.directory, "conf")],
                                        stdin=subprocess.DEVNULL)
        wait_for(lambda: os.path.exists(self.auth) and os.path.exists(self.lmtp_socket), 30,
                 "dovecot to open its sockets")
        return self

    def __exit__(self, kind, *_):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(30)
        if kind is None:
            shutil.rmtree(self.directory, ignore_errors=True)

    def read_log(self):
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def messages(self):
        found = []
        for path in glob.glob(os.path.join(self.directory, "mail", "*", "new", "*")):
            with open(path, "rb") as file:
                found.append((path.split("/")[-3], file.read()))
        return found
