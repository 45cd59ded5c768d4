"""Remember users: set a cookie with the token that brought a page, and place requests without a token by it.

Workers import this only if a pool remembers: the cryptography it needs takes 7 MiB of each.
"""

import time
from collections.abc import Iterable, Sequence

from balancer.config.cookie import cookie_name, longest_token
from balancer.http.forward import RequestWriter
from balancer.http.head import Request, Response
from balancer.http.remember import PrivateCookies, keep_private, opens_page, set_cookie
from balancer.http.seal import Seals
from balancer.pool.pool import Pool


class Remembering:
    """Of all pools of a worker. ``names`` are those of their cookies, ``keys`` seal them."""

    def __init__(self, names: Iterable[str], keys: Sequence[bytes]) -> None:
        self._cookies = PrivateCookies(names)
        self._seals = Seals(keys)

    def take(self, request: Request, writer: RequestWriter) -> None:
        """Take our cookies out of a request, before ``writer`` writes it to a backend."""
        if request.taken_by is not self._cookies:
            self._cookies.take(request)
            writer.forget()

    def token(self, pool: Pool, request: Request, *, secure: bool) -> bytes | None:
        """Return the token that the browser keeps for ``pool``; None if there is none to be believed.

        Cookies with different tokens are not: with some paths the browser may send only one of them.
        """
        found = self._open(pool, request, secure=secure)
        if not found:
            return None
        return next(iter(found)) if len(found) == 1 else None

    def answer(
        self,
        pool: Pool,
        request: Request,
        response: Response,
        token: bytes | None,
        *,
        assigned: bool = False,
        secure: bool,
    ) -> None:
        """Prepare a backend's response for the browser; have it keep ``token``, if there is one to be kept.

        One that came with a request is kept for the page that it opened. One that was ``assigned`` is kept in any case:
        without it the next request would be of another user.
        """
        self._cookies.clean(response)
        final = response.status == 101 or response.status >= 200
        if token is None or not final or not (assigned or (response.status < 400 and opens_page(request))):
            return
        known = self._open(pool, request, secure=secure)
        if known == {token: False}:
            return
        rule = pool.settings.token
        name, value = cookie_name(rule.remember, secure=secure), b""
        if len(token) <= longest_token(rule.remember, rule.remember_same_site, secure=secure):
            value = self._seals.seal(pool.name, name, token, time.time())
            pool.cookies["set"] += 1
        else:
            pool.cookies["too_long"] += 1
            if not known:
                return  # else it is removed, or other requests would be placed as those of the former user
        keep_private(response)
        response.fields += set_cookie(name, value, rule.remember_same_site, secure=secure)

    def _open(self, pool: Pool, request: Request, *, secure: bool) -> dict[bytes, bool]:
        """The tokens in the cookies of ``pool``, and whether each should be sealed anew."""
        name, now = cookie_name(pool.settings.token.remember, secure=secure), time.time()
        found: dict[bytes, bool] = {}
        for value in request.taken.get(name, ()):
            opened = self._seals.open(pool.name, name, value, now)
            if opened is None:
                pool.cookies["not_opened"] += 1
            else:
                found[opened[0]] = opened[1]
        if len(found) > 1:
            pool.cookies["contradictory"] += 1
        return found
