"""Certificates for tests, made by OpenSSL's command line: an authority of one's own, and what it signs.

    with Authority() as authority:
        authority.file                              # its certificate, PEM
        authority.server("mx.a.test")               # an ssl.SSLContext for a server with that name
        authority.server("mx.a.test", days=-1)      # whose certificate has expired"""
import hashlib
import os
import shutil
import ssl
import subprocess
import tempfile

CURVE = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    def __init__(self, name="Test Authority"):
        self.directory = tempfile.mkdtemp(prefix="certificates-")
        self.key, self.file, self.issued = self.path("ca.key"), self.path("ca.pem"), 0
        self.openssl("req", "-x509", *CURVE, "-keyout", self.key, "-out", self.file, "-subj", f"/CN={name}",
                     "-days", "30")

    def path(self, name):
        return os.path.join(self.directory, name)

    def openssl(self, *args):
        return subprocess.run(["openssl", *args], check=True, capture_output=True, timeout=60).stdout

    def issue(self, *names, days=30):
        """Paths of a certificate for these names, and of its key."""
        self.issued += 1
        key, request, file = (self.path(f"{self.issued}.{suffix}") for suffix in ("key", "csr", "pem"))
        self.openssl("req", *CURVE, "-keyout", key, "-out", request, "-subj", "/CN=test",
                     "-addext", "subjectAltName=" + ",".join(
                         f"{'IP' if name[-1].isdigit() else 'DNS'}:{name}" for name in names))
        self.openssl("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self.key, "-out", file,
                     "-copy_extensions", "copy", "-days", str(days))
        return file, key

    def server(self, *names, days=30, client=False):
        """It shows its authority along, as a record of usage 2 needs. client: it wants a certificate of this
        authority from whoever connects."""
        file, key = self.issue(*names, days=days)
        with open(file, "a", encoding="ascii") as chain, open(self.file, encoding="ascii") as above:
            chain.write(above.read())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file, key)
        if client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        context.certificate = file
        return context

    def tlsa(self, context):
        """The data of a record "3 1 1" for what the server shows."""
        key = self.openssl("x509", "-in", context.certificate, "-noout", "-pubkey")
        with open(self.path("public"), "wb") as f:
            f.write(key)
        return hashlib.sha256(self.openssl("pkey", "-pubin", "-in", self.path("public"),
                                           "-outform", "DER")).hexdigest()

    def digest(self):
        """The data of a record "2 0 1" for this authority."""
        return hashlib.sha256(self.openssl("x509", "-in", self.file, "-outform", "DER")).hexdigest()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.directory, ignore_errors=True)
