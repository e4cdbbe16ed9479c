"""A real SMTP server: STARTTLS and a login are required, each mail is a JSON line in a file.

    PYTHONPATH=... SMTP_PASSWORD=... server.py PORT CERTIFICATE KEY MAILS

Addresses that begin with `nobody@` are refused, those with `later@` put off the first time. Each mail is accepted only so
many seconds after its text as the file MAILS.slow says, if there is one.
"""

import asyncio
import json
import os
import signal
import ssl
import sys
import threading

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


class Keep:
    def __init__(self, path):
        self.path = path
        self.put_off = set()

    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("nobody@"):
            return "550 no such user here"
        if address.startswith("later@") and address not in self.put_off:
            self.put_off.add(address)
            return "451 come again"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "content": envelope.content.decode()}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(mail) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if os.path.exists(self.path + ".slow"):
            with open(self.path + ".slow", encoding="utf-8") as file:
                await asyncio.sleep(float(file.read()))
        return "250 accepted"


def login(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and data.password.decode() == os.environ["SMTP_PASSWORD"]
    return AuthResult(success=right, handled=right)


def main():
    port, certificate, key, mails = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    controller = Controller(
        Keep(mails),
        hostname="127.0.0.1",
        port=int(port),
        tls_context=context,
        require_starttls=True,
        authenticator=login,
        auth_required=True,
    )
    controller.start()
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    ended.wait()
    controller.stop()


main()
