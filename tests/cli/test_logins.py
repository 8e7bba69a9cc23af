"""For how long logins over SSH stay after a command."""

from pathlib import Path

import pytest

from pgtandem.adapters.hosts.ssh_kept import KEEP_SECONDS, KEEP_VARIABLE
from pgtandem.cli.logins import kept_logins
from pgtandem.errors import PgtandemError


@pytest.mark.parametrize(("said", "seconds"), [(None, KEEP_SECONDS), ("", KEEP_SECONDS), (" 5 ", 5), ("0", 0)])
def test_environment_says_for_how_long(
    said: str | None, seconds: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(KEEP_VARIABLE, raising=False)
    if said is not None:
        monkeypatch.setenv(KEEP_VARIABLE, said)
    logins = kept_logins()
    assert logins.seconds == seconds
    if seconds == 0:
        assert not logins.possible


@pytest.mark.parametrize("said", ["1m", "-1", "601", "no", "²"])
def test_what_is_no_number_of_seconds_is_refused(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEEP_VARIABLE, said)
    with pytest.raises(PgtandemError) as caught:
        kept_logins()
    assert caught.value.code.text == "PT-1006"
    assert caught.value.what == f'{KEEP_VARIABLE} is "{said}"'
