"""Guards that protect the metrics endpoint: decorators for `metrics_decorator`.

They work on views of Flask and of Quart, and on the separate server of both. They keep digests of
secrets, never the secrets, and their repr shows neither.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import inspect
import re
import sys
from collections.abc import Callable, Iterable
from functools import reduce, wraps
from http import HTTPStatus
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, TypeVar, cast

__all__ = ["Guard", "all_of", "allow_networks", "basic_auth", "bearer_token"]

F = TypeVar("F", bound=Callable[..., Any])

_DIGEST = re.compile(r"sha256:([0-9A-Fa-f]{64})")
_SLOW_HASH = re.compile(
    r"(scrypt|pbkdf2):|\$(1|2[abxy]?|5|6|7|y|apr1|scrypt|argon2\w*|pbkdf2\S*)\$"
)
_MAPPED = IPv6Network("::ffff:0:0/96")


class Guard:
    """Decorates views, plain or coroutine functions, and refuses unauthorized requests.

    For example:

        guard: Guard = bearer_token("a long random secret")
    """

    def __init__(
        self,
        description: str,
        status: HTTPStatus,
        refusal: Callable[[Any], dict[str, str] | None],
    ) -> None:
        """`refusal` returns the headers of a refusal, None to let the request in."""
        self._description = description
        self._status = status
        self._refusal = refusal

    def __call__(self, view: F, /) -> F:
        """Return a view of the same kind."""
        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def protected_async(*args: Any, **kwargs: Any) -> Any:
                refused = self._refuse("quart", "flask")
                return await view(*args, **kwargs) if refused is None else refused

            return cast(F, protected_async)

        @wraps(view)
        def protected(*args: Any, **kwargs: Any) -> Any:
            refused = self._refuse("flask", "quart")
            return view(*args, **kwargs) if refused is None else refused

        return cast(F, protected)

    def __repr__(self) -> str:
        return f"<{self._description}>"

    def _refuse(self, *frameworks: str) -> Any:
        """Return the response that refuses the current request; None lets it in.

        It takes the request of the first framework that has one, and skips frameworks that were
        never imported.
        """
        for name in frameworks:
            framework = sys.modules.get(name)
            if framework is not None and framework.has_request_context():
                headers = self._refusal(framework.request)
                if headers is None:
                    return None
                return framework.current_app.response_class(
                    f"{self._status.phrase}\n", self._status, headers, mimetype="text/plain"
                )
        raise RuntimeError(f"{self!r} decorates views, and was called outside of a request")


def all_of(*guards: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that applies several guards: a request must pass all, in order.

    Raises TypeError without guards, and for anything that is not a decorator.

        metrics_decorator=all_of(allow_networks("10.0.0.0/8"), bearer_token(token))
    """
    wrong = [type(guard).__name__ for guard in guards if not callable(guard)]
    if wrong or not guards:
        del guards  # see `_digests`
        raise TypeError(
            "all_of takes decorators, as in all_of(allow_networks(...), bearer_token(...)), not "
            f"{', '.join(wrong) or 'nothing'}"
        )

    def decorate(view: F, /) -> F:
        return reduce(lambda decorated, guard: guard(decorated), reversed(guards), view)

    return decorate


def bearer_token(*tokens: str) -> Guard:
    """Return a guard that requires `Authorization: Bearer TOKEN` (RFC 6750) or answers 401.

    It accepts any of several tokens, so that a new one can replace an old one without a gap. A
    token may be given as `sha256:` and the 64 hexadecimal digits of its SHA-256. Raises
    `ValueError` for a token that no header can carry, and `TypeError` for one that is not a string.

        metrics_decorator=bearer_token(os.environ["METRICS_TOKEN"])
    """
    digests, problem = _digests("bearer_token", "token", tokens, "[!-~]", "visible ASCII")
    del tokens  # see `_digests`
    if problem is not None:
        raise problem

    def refusal(request: Any) -> dict[str, str] | None:
        token = _credentials(request, "bearer")
        if token is None:
            return {"WWW-Authenticate": 'Bearer realm="metrics"'}
        if _is_one_of(token.encode("utf-8", "surrogatepass"), digests):
            return None
        return {"WWW-Authenticate": 'Bearer realm="metrics", error="invalid_token"'}

    return Guard("bearer_token", HTTPStatus.UNAUTHORIZED, refusal)


def basic_auth(user: str, *passwords: str) -> Guard:
    """Return a guard that requires a user and a password (RFC 7617, UTF-8) or answers 401.

    It accepts any of several passwords, so that a new one can replace an old one without a gap.
    A password may be given as `sha256:` and the 64 hexadecimal digits of the SHA-256 of its UTF-8
    form. Raises `ValueError` for slow hashes (scrypt, PBKDF2, bcrypt, argon2): each guess of an
    attacker would cost the service time. A long random password needs none.

        metrics_decorator=basic_auth("prometheus", os.environ["METRICS_PASSWORD"])
    """
    users, problem = _digests(
        "basic_auth", "user", (user,), r"[^\x00-\x1f\x7f\ud800-\udfff:]", "text without a colon"
    )
    digests, password_problem = _digests(
        "basic_auth", "password", passwords, r"[^\x00-\x1f\x7f\ud800-\udfff]", "text"
    )
    del user, passwords  # see `_digests`
    problem = problem or password_problem
    if problem is not None:
        raise problem

    def refusal(request: Any) -> dict[str, str] | None:
        try:
            given = base64.b64decode(_credentials(request, "basic") or "", validate=True)
        except ValueError:
            given = b""
        name, _, password = given.partition(b":")
        if _is_one_of(name, users) & _is_one_of(password, digests):
            return None
        return {"WWW-Authenticate": 'Basic realm="metrics", charset="UTF-8"'}

    return Guard("basic_auth", HTTPStatus.UNAUTHORIZED, refusal)


def allow_networks(*networks: str, trusted_proxies: int = 0) -> Guard:
    """Return a guard that admits clients of some networks (`10.0.0.0/8`) and answers others 403.

    The client is the peer of the connection. With `trusted_proxies=n`, it is the n-th entry of
    X-Forwarded-For from the right: the address that called the first of the n proxies. All
    requests must come through these proxies then; otherwise clients can forge the header. It
    refuses clients without an address, as on a Unix socket. Raises `ValueError` for a bad network.

        metrics_decorator=allow_networks("10.0.0.0/8", trusted_proxies=1)
    """
    if not networks:
        raise ValueError("allow_networks needs a network: write allow_networks('10.0.0.0/8')")
    if type(trusted_proxies) is not int or trusted_proxies < 0:
        raise ValueError(f"trusted_proxies must be a number of proxies, not {trusted_proxies!r}")
    allowed = [_network(network) for network in networks]

    def refusal(request: Any) -> dict[str, str] | None:
        try:
            client: Any = ip_address(_client(request, trusted_proxies))
        except ValueError:
            return {}
        client = getattr(client, "ipv4_mapped", None) or client
        return None if any(client in network for network in allowed) else {}

    shown = ", ".join(map(str, allowed))
    return Guard(f"allow_networks {shown}", HTTPStatus.FORBIDDEN, refusal)


def _digests(
    where: str, kind: str, secrets: Iterable[object], character: str, what: str
) -> tuple[list[bytes], Exception | None]:
    """Return the SHA-256 of secrets, or the exception that explains what is wrong with them.

    The caller raises it once no frame holds a secret: error reports show local variables, and a
    secret with an extra newline is still a secret.
    """
    digests = []
    for secret in secrets:
        if not isinstance(secret, str):
            return [], TypeError(f"{where}: a {kind} must be a string, not {type(secret).__name__}")
        known = _DIGEST.fullmatch(secret)
        if known and kind != "user":
            digests.append(bytes.fromhex(known[1]))
        elif secret.startswith("sha256:"):
            return [], ValueError(f"{where}: write 64 hexadecimal digits after sha256:")
        elif _SLOW_HASH.match(secret):
            return [], ValueError(
                f"{where}: this {kind} is a slow hash, and each guess of an attacker would cost "
                "time; use a long random one, and write sha256: and its SHA-256"
            )
        elif not re.fullmatch(f"{character}+", secret):
            return [], ValueError(
                f"{where}: a {kind} must be {what}, not empty and without control characters; does "
                "it end with the newline of a file?"
            )
        else:
            digests.append(hashlib.sha256(secret.encode()).digest())
    if not digests:
        return [], ValueError(f"{where} needs a {kind}")
    return digests, None


def _is_one_of(secret: bytes, digests: list[bytes]) -> bool:
    """Compare in a time that does not depend on the secrets."""
    digest = hashlib.sha256(secret).digest()
    return sum(hmac.compare_digest(digest, known) for known in digests) > 0


def _credentials(request: Any, wanted: str) -> str | None:
    """Return the Authorization header without its scheme; None if it has another scheme."""
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    return credentials.strip() if scheme.lower() == wanted else None


def _network(network: object) -> IPv4Network | IPv6Network:
    try:
        if not isinstance(network, str):
            raise ValueError(f"{network!r} is not a string")
        parsed = ip_network(network)
    except ValueError as error:
        raise ValueError(
            f"allow_networks: {error}; write an address or a network, as in '10.0.0.0/8'"
        ) from None
    if isinstance(parsed, IPv6Network) and parsed.subnet_of(_MAPPED):
        raise ValueError(f"allow_networks: {network} maps IPv4 addresses; write the IPv4 network")
    return parsed


def _client(request: Any, trusted_proxies: int) -> str:
    """Return the address of the client, an empty string if it has none."""
    if not trusted_proxies:
        return request.remote_addr or ""
    hops = ",".join(request.headers.getlist("X-Forwarded-For")).split(",")
    return hops[-trusted_proxies].strip() if trusted_proxies <= len(hops) else ""
