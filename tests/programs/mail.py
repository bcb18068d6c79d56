"""aiosmtpd and aiosmtplib: mail over SMTP, in the clear and after STARTTLS."""

from __future__ import annotations

import asyncio
import hashlib
from email.message import EmailMessage
from typing import Any

import aiosmtplib
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.programs.common import HOSTNAME, client_tls, for_ever, octets, reachable, server_tls

LIMIT = 4_000_000
ATTACHMENT = 1_000_000
UNKNOWN = 550
TOO_LARGE = 552


# ---------------------------------------------------------------------------------------------------------- the server


class Postbox:
    """Takes mail for everybody but `nobody@...`, and says what it got."""

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's names
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if address.startswith("nobody@"):
            return "550 no such mailbox"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        tls = "TLS" if session.ssl is not None else "clear"
        return f"250 {len(envelope.rcpt_tos)} {tls} {hashlib.sha256(content).hexdigest()}"


async def server(address: str, port: int) -> None:
    """Serves until it is cancelled."""
    context = server_tls()
    listener = await asyncio.get_running_loop().create_server(
        lambda: SMTP(Postbox(), hostname=HOSTNAME, tls_context=context, data_size_limit=LIMIT, enable_SMTPUTF8=True),
        address,
        port,
    )
    async with listener:
        await for_ever()


# ---------------------------------------------------------------------------------------------------------- the client


async def client(address: str, port: int, size: int = ATTACHMENT) -> dict[str, Any]:
    """A letter and one with an attachment, in the clear and encrypted; one that nobody wants, one that is too large."""
    await reachable(address, port)
    found: dict[str, Any] = {}
    for name, tls in (("clear", False), ("TLS", True)):
        connection = aiosmtplib.SMTP(
            hostname=address,
            port=port,
            start_tls=False,
            tls_context=client_tls(),
            local_hostname="client.test",
            timeout=120,
        )
        await connection.connect()
        if tls:
            await connection.starttls(server_hostname=HOSTNAME, tls_context=client_tls())
        found[name] = [
            await _send(connection, letter("Hello", 0), name),
            await _send(connection, letter("A parcel", size), name),
        ]
        if not tls:
            found["unknown"] = await _unknown(connection)
            found["too large"] = await _too_large(connection)
        await connection.quit()
    several = await asyncio.gather(*(_one(address, port, f"number {each}") for each in range(10)))
    found["at once"] = sum(several)
    return found


def letter(subject: str, size: int) -> EmailMessage:
    """Always the same letter; with an attachment of so many octets unless that is 0."""
    message = EmailMessage()
    message["From"] = "alice@client.test"
    message["To"] = "bob@service.test, carol@service.test"
    message["Subject"] = subject
    message.set_content("Dear both,\n.\n..\nthe dots above are part of the letter.\n")
    if size:
        message.add_attachment(octets(size), maintype="application", subtype="octet-stream", filename="parcel")
        message.set_boundary("=" * 20)
    return message


async def _send(connection: aiosmtplib.SMTP, message: EmailMessage, expected: str) -> bool:
    errors, answer = await connection.send_message(message)
    recipients, secrecy, sha = answer.split()
    sent = message.as_bytes(policy=message.policy.clone(linesep="\r\n"))
    return not errors and (recipients, secrecy, sha) == ("2", expected, hashlib.sha256(sent).hexdigest())


async def _one(address: str, port: int, subject: str) -> bool:
    errors, _ = await aiosmtplib.send(
        letter(subject, 1000), hostname=address, port=port, start_tls=False, local_hostname="client.test"
    )
    return not errors


async def _unknown(connection: aiosmtplib.SMTP) -> int:
    try:
        await connection.sendmail("alice@client.test", ["nobody@service.test"], b"Subject: ?\r\n\r\n")
    except aiosmtplib.SMTPRecipientsRefused as error:
        return error.recipients[0].code
    return 0


async def _too_large(connection: aiosmtplib.SMTP) -> int:
    try:
        await connection.sendmail("alice@client.test", ["bob@service.test"], b"x" * (LIMIT + 1))
    except aiosmtplib.SMTPResponseException as error:
        return error.code
    return 0
