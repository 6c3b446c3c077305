"""Options of commands that scrape: how to reach a service, and with which credentials."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from ...scrapes.http_client import Client

__all__ = ["with_client"]

_HEADER = re.compile(r"([!#$%&'*+.^`|~\w-]+): *([\x20-\x7e\xa0-\xff]*)", re.ASCII)


def _headers(
    _ctx: click.Context, _parameter: click.Parameter, given: tuple[str, ...]
) -> dict[str, str]:
    headers = {}
    for one in given:
        found = _HEADER.fullmatch(one)
        if not found:
            # The message omits the value, which may be a secret.
            raise click.BadParameter(f"{one.partition(':')[0]!r} is not of the form 'Name: value'")
        headers[found[1]] = found[2]
    return headers


def _user(_ctx: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is None or ":" in given:
        return given
    return f"{given}:{click.prompt(f'Password of {given}', hide_input=True, err=True)}"


def _context(
    _ctx: click.Context, _parameter: click.Parameter, given: str | None
) -> ssl.SSLContext | None:
    try:
        return ssl.create_default_context(cafile=given) if given else None
    except OSError as error:
        raise click.BadParameter(f"{given!r} contains no certificates in PEM form") from error


_OPTIONS = (
    click.option(
        "--timeout",
        type=click.FloatRange(0.1),
        default=5.0,
        show_default=True,
        help="Seconds to wait for an answer.",
    ),
    click.option(
        "--header",
        "headers",
        metavar="'NAME: VALUE'",
        multiple=True,
        callback=_headers,
        help="Send a header, for example 'Authorization: Bearer TOKEN'.",
    ),
    click.option(
        "--user",
        metavar="NAME[:PASSWORD]",
        callback=_user,
        help="Send basic authentication; asks for the password if it is left out.",
    ),
    click.option(
        "--cacert",
        "context",
        type=click.Path(exists=True, dir_okay=False),
        callback=_context,
        help="Trust the certificates in this file instead of the system's.",
    ),
)


def with_client(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command these options, and a `client` that follows them."""

    @wraps(function)
    def command(
        timeout: float,
        headers: dict[str, str],
        user: str | None,
        context: ssl.SSLContext | None,
        **kwargs: Any,
    ) -> Any:
        if user is not None:
            token = base64.b64encode(user.encode()).decode()
            headers = {**headers, "Authorization": f"Basic {token}"}
        client = Client(headers=headers, context=context, timeout=timeout)
        return function(client=client, **kwargs)

    for option in reversed(_OPTIONS):
        command = option(command)
    return command
