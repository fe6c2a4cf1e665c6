"""Lines of a small server's log, made from a seed, with anomalies planted among them.

A web server, a login service, scheduled jobs and sensors write in turn. Most lines are usual. A
strange one is of a usual form with something in it that never is there: see ``_STRANGE``. All its
characters are in usual lines too, so that no character alone tells it.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

from trilight.sw.errors import CorpusError

from .anomaly import ANOMALY, DEVELOPMENT, NORMAL, TEST, TRAIN
from .lines import SEPARATOR, LabelledLine

__all__ = ["SHARE", "log_lines", "write_logs"]

SHARE = 0.05
"""Share of the lines of a file to be judged that are strange."""

_USERS = ("anna", "bruno", "chiara", "david", "elena", "farid", "greta", "hugo")
_PAGES = ("/", "/index.html", "/news", "/login", "/cart", "/api/items", "/api/orders",
          "/static/main.css", "/static/logo.png", "/help?topic=returns", "/search?q=lamp%20red")
_JOBS = (("backup", "daily"), ("rotate", "logs"), ("report", "weekly"), ("mail", "queue"))
_ROOMS = ("hall", "store", "office", "rack")

Draw = random.Random


def _web(r: Draw) -> str:
    page = r.choice(_PAGES)
    verb = "POST" if page in ("/login", "/cart", "/api/orders") else "GET"
    status = 302 if page == "/login" else 201 if verb == "POST" else r.choice((200, 200, 304))
    return _request(r, verb, page, status)


def _request(r: Draw, verb: str, page: str, status: int) -> str:
    host = f"10.0.{r.randrange(4)}.{r.randrange(10, 60)}"
    return f"web: {host} {verb} {page} {status} {r.randrange(2, 40)}ms"


def _login(r: Draw) -> str:
    user = r.choice(_USERS)
    number = _USERS.index(user)
    what = r.choice(("opened", "closed"))
    return f"auth: user {user} session {what} from 10.0.{number % 4}.{10 + number}"


def _job(r: Draw) -> str:
    name, what = r.choice(_JOBS)
    if r.random() < 0.5:
        return f"cron: job {name}-{what} started"
    return f"cron: job {name}-{what} finished ok in {r.randrange(1, 9)}.{r.randrange(10)}s"


def _sensor(r: Draw) -> str:
    return _reading(r, r.randrange(len(_ROOMS)))


def _reading(r: Draw, place: int, *, over: int | None = None, fan: int = 40) -> str:
    usual = 18 + 4 * place
    degrees = usual + (r.randrange(3) if over is None else over)
    return f"temp: {_ROOMS[place]} {degrees}.{r.randrange(10)} C fan {usual * fan} rpm"


_USUAL: dict[Callable[[Draw], str], int] = {_web: 5, _login: 2, _job: 1, _sensor: 3}
"""Kinds of usual lines, and how often each is written."""


def _status(r: Draw) -> str:
    """A request that fails, or a page that answers as another does."""
    parts = _web(r).split(" ")
    parts[4] = r.choice(("500", "404", "503", "403"))
    return " ".join(parts)


def _slow(r: Draw) -> str:
    """A response of seconds."""
    return f"{_web(r).rpartition(' ')[0]} {r.randrange(4000, 9900)}ms"


def _path(r: Draw) -> str:
    """A page that there is not: somebody tries doors."""
    page = r.choice(("/admin/setup", "/static/../../main", "/api/users?id=1%20or%201=1", "/.login"))
    return _request(r, "GET", page, 200)


def _stranger(r: Draw) -> str:
    """A user from somebody else's address, or one that there is not."""
    user = r.choice(_USERS)
    if r.random() < 0.5:
        net = (_USERS.index(user) + 2) % 4
        return f"auth: user {user} session opened from 10.0.{net}.{r.randrange(40, 99)}"
    return f"auth: user {r.choice(('root', 'admin', 'test'))} session opened from 10.0.2.12"


def _failed(r: Draw) -> str:
    """A job that ends badly, or takes an hour."""
    name, what = r.choice(_JOBS)
    if r.random() < 0.5:
        return f"cron: job {name}-{what} failed in {r.randrange(1, 9)}.{r.randrange(10)}s"
    return f"cron: job {name}-{what} finished ok in {r.randrange(1000, 4000)}.0s"


def _hot(r: Draw) -> str:
    """A room that is too hot, or a fan that stands still."""
    place = r.randrange(len(_ROOMS))
    if r.random() < 0.5:
        return _reading(r, place, over=r.randrange(14, 40))
    return _reading(r, place, fan=0)


_STRANGE: tuple[Callable[[Draw], str], ...] = (_status, _slow, _path, _stranger, _failed, _hot)
"""Kinds of anomalies, equally often."""


def log_lines(seed: int, part: str, count: int, *, share: float = 0.0) -> Iterator[LabelledLine]:
    """Yield lines of a log; the same arguments give the same ones.

    Parameters
    ----------
    part
        Name of the file, so that files of one seed differ.
    share
        Probability of a strange line.
    """
    r = random.Random(f"{seed} {part}")
    clock = 0
    for _ in range(count):
        clock = (clock + r.randrange(4)) % 3600
        strange = r.random() < share
        make = r.choice(_STRANGE) if strange else r.choices([*_USUAL], [*_USUAL.values()])[0]
        yield LabelledLine(f"{clock // 60:02}:{clock % 60:02} {make(r)}",
                           ANOMALY if strange else NORMAL)


def write_logs(folder: Path, seed: int, lines: int) -> None:
    """Write a task of anomalies: ``lines`` usual lines, and a tenth of that to judge, twice.

    Raises
    ------
    CorpusError
        The folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        usual = log_lines(seed, TRAIN, lines)
        (folder / TRAIN).write_text("".join(line.text + "\n" for line in usual), "utf-8")
        for name in (DEVELOPMENT, TEST):
            judged = log_lines(seed, name, lines // 10, share=SHARE)
            (folder / name).write_text("".join(f"{line.text}{SEPARATOR}{line.label}\n"
                                               for line in judged), "utf-8")
    except OSError as error:
        raise CorpusError(f"lines cannot be written to {folder}: {error.strerror}; name another "
                          "folder") from error
