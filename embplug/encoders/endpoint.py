"""Requests to an endpoint that serves a model over HTTP."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from embplug.common.checks import checked_integer, checked_positive
from embplug.common.validation import short_repr
from embplug.errors import EncoderError, InvalidArgumentError

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "EMBPLUG_ENCODER_API_KEY"
"""Environment variable with the key of endpoints, where none is passed."""

TRANSIENT = (408, 425, 429, 500, 502, 503, 504)
"""Statuses after which a request is sent again."""

LONGEST_WAIT = 60.0
"""Seconds that a request waits at most before it is sent again."""


class Endpoint:
    """An address to which texts are sent, and from which vectors come.

    A request is sent again after an error that may pass, and waits as long as ``Retry-After`` says. Redirects
    are not followed. The key is in no error, and a pickle does not hold it: it is read from the environment
    where the pickle is read.

    Parameters
    ----------
    url : str
        Address that begins with ``http://`` or ``https://``, without a key.
    api_key : str, default=None
        Sent as a bearer token. None reads the environment variable ``EMBPLUG_ENCODER_API_KEY``.
    timeout : float, default=60.0
        Seconds after which a request fails.
    retries : int, default=3
        Number of times that a request is sent again.
    batch_size : int, default=32
        Number of texts in a request.
    concurrency : int, default=4
        Number of requests at a time.

    Raises
    ------
    InvalidArgumentError
        The address holds a user, a password or a query, or is none; or an option is not in its range.
    """

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        batch_size: int = 32,
        concurrency: int = 4,
    ) -> None:
        self.url = checked_url(url)
        self._api_key = None if api_key is None else checked_key(api_key, "api_key")
        self.timeout = checked_positive(timeout, "timeout", "seconds")
        self.retries = checked_integer(retries, "retries")
        self.batch_size = checked_integer(batch_size, "batch_size", 1)
        self.concurrency = checked_integer(concurrency, "concurrency", 1)
        self._clients: dict[int, httpx.Client] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_api_key": None, "_clients": {}}

    def send_texts(
        self, texts: Sequence[str], path: str, body: Callable[[list[str]], dict[str, Any]]
    ) -> list[tuple[int, Any]]:
        """Send texts, some in each request, and return the answers in their order.

        Parameters
        ----------
        texts : sequence of str
            Texts to send.
        path : str
            Path below the address, such as ``"/embeddings"``.
        body : callable
            Returns the body of a request from its texts.

        Returns
        -------
        list of tuple of int and object
            Number of texts and parsed answer of each request.

        Raises
        ------
        EncoderError
            A request fails, also after it was sent again.
        """
        parts = [list(texts[i : i + self.batch_size]) for i in range(0, len(texts), self.batch_size)]
        if len(parts) < 2:
            return [(len(part), self.send("POST", path, body(part))) for part in parts]
        with ThreadPoolExecutor(min(self.concurrency, len(parts))) as threads:
            answers = threads.map(lambda part: self.send("POST", path, body(part)), parts)
            return [(len(part), answer) for part, answer in zip(parts, answers, strict=True)]

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request, again after errors that may pass, and return the parsed answer.

        Raises
        ------
        EncoderError
            The endpoint cannot be reached, refuses the request, or answers something else than JSON.
        """
        import httpx

        for attempt in range(self.retries + 1):
            wait = min(0.5 * 2**attempt, LONGEST_WAIT)
            try:
                answer = self._http().request(method, self.url + path, json=body, headers=self._headers())
            except httpx.TransportError as error:
                reason = f"it cannot be reached ({type(error).__name__}: {error})"
            except httpx.DecodingError as error:
                reason = f"its answer cannot be decompressed ({error})"
                break
            except UnicodeError as error:
                # A text with half a character has no JSON, and a host may have no name in DNS.
                reason = f"the request cannot be written ({error})"
                break
            else:
                if answer.is_success:
                    return self._parsed(answer, path)
                reason = f"status {answer.status_code}: {answer.text[:200]}"
                if answer.status_code not in TRANSIENT:
                    break
                wait = retry_after(answer.headers.get("retry-after"), wait)
            if attempt < self.retries:
                time.sleep(wait)
        raise self.error(path, reason)

    def error(self, path: str, reason: str) -> EncoderError:
        """An error of this endpoint, without its key."""
        key = self._key()
        return EncoderError(self.url + path, reason if key is None else reason.replace(key, "***"))

    def _parsed(self, answer: httpx.Response, path: str) -> Any:
        try:
            return answer.json()
        except ValueError:
            raise self.error(path, f"expected JSON, got {short_repr(answer.text[:200])}") from None

    def _http(self) -> httpx.Client:
        """The client of this process: one of before a fork shares its connections."""
        import httpx

        process = os.getpid()
        client = self._clients.get(process)
        if client is None:
            own = httpx.Client(timeout=self.timeout, follow_redirects=False)
            # Of several threads that begin at once, one gives its client to all.
            client = self._clients.setdefault(process, own)
            if client is not own:
                own.close()
        return client

    def _headers(self) -> dict[str, str]:
        key = self._key()
        return {} if key is None else {"Authorization": f"Bearer {key}"}

    def _key(self) -> str | None:
        if self._api_key is not None:
            return self._api_key
        # A file from which the variable is read ends with a new line.
        key = os.environ.get(KEY_VARIABLE, "").strip()
        return checked_key(key, KEY_VARIABLE) if key else None


def checked_key(key: Any, argument: str) -> str:
    """Check a key, which is sent in a header, and return it.

    Raises
    ------
    InvalidArgumentError
        It is none. The error does not show it.
    """
    if not isinstance(key, str):
        raise InvalidArgumentError(argument, "a key, or None", type(key).__name__)
    if not re.fullmatch(r"[!-~]+", key):
        raise InvalidArgumentError(argument, "a key of visible ASCII characters", "another text")
    return key


def checked_url(url: Any) -> str:
    """Check the address of an endpoint, and return it without a slash at its end.

    Raises
    ------
    InvalidArgumentError
        It is no such address.
    """
    if not isinstance(url, str) or not _is_address(url):
        shown = re.sub(r"//[^/]*@", "//***@", str(url)).partition("?")[0]
        expected = "an address such as 'http://localhost:8080', without a user, a key or a query"
        raise InvalidArgumentError("encoder", expected, short_repr(shown))
    return url.rstrip("/")


def _is_address(url: str) -> bool:
    import httpx

    try:
        httpx.URL(url)  # which finds ports that are no numbers
    except httpx.InvalidURL:
        return False
    return re.fullmatch(r"https?://[^\s/@?#\\]+(/[^\s@?#\\]*)?", url) is not None


def retry_after(value: str | None, otherwise: float) -> float:
    """Seconds that a header ``Retry-After`` asks to wait, at most ``LONGEST_WAIT``."""
    if value is None:
        return otherwise
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except ValueError:
            return otherwise
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=timezone.utc)
        seconds = (moment - datetime.now(timezone.utc)).total_seconds()
    return otherwise if math.isnan(seconds) else min(max(seconds, 0.0), LONGEST_WAIT)
