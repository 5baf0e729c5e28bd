"""The alerts file: what is refused, and that nothing of it is repeated."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestration.stewards.alerts_file import DIGEST, Alerts, AlertsError, read_alerts, secret_in

MAIL = "mail: {host: mail.study.example, sender: platform@study.example}"
PEOPLE = "people: {steward: [steward@study.example], approver: [approver@study.example]}"


def written(folder: Path, *lines: str) -> Path:
    path = folder / "alerts.yml"
    path.write_text("\n".join(lines))
    return path


def test_without_a_file_nobody_is_told() -> None:
    assert read_alerts(None).channels("overdue") == ()


def test_an_event_goes_to_its_roles_and_everything_else_to_the_steward(tmp_path: Path) -> None:
    lines = (MAIL, PEOPLE, "to: {release_waiting: [approver, steward]}", "quiet: [warning_new]", "webhook: {url: 'https://study.example/x', secret_file: x}")  # fmt: skip
    alerts = read_alerts(written(tmp_path, *lines))
    assert alerts.addresses("release_waiting") == ("approver@study.example", "steward@study.example")
    assert alerts.addresses("overdue") == ("steward@study.example",)
    assert alerts.channels("overdue") == alerts.channels(DIGEST) == ("mail", "webhook")
    assert alerts.channels("warning_new") == ()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (("mail: [",), "cannot be read as YAML"),
        ((MAIL,), "steward is needed"),
        ((MAIL, "people: {steward: ['a b@study.example']}"), "an address is none"),
        (("mail: {host: hunter2.example, sender: p@study.example, security: none}", PEOPLE), "loopback"),
        (("mail: {host: 127.0.0.1, sender: p@study.example, security: none, user: u, password_file: f}", PEOPLE), "loopback"),
        (("mail: {host: hunter2.example, sender: p@study.example, user: u}", PEOPLE), "go together"),
        (("mail: {host: h.example, sender: p@study.example, port: 0}", PEOPLE), "mail.port"),
        (("webhook: {url: 'http://hunter2.example/x', secret_file: s}",), "only https"),
        (("webhook: {url: 'https://u:hunter2@study.example/x', secret_file: s}",), "no user or password"),
        ((MAIL, PEOPLE, "to: {hunter2: [steward]}"), "the events are"),
        ((MAIL, PEOPLE, "to: {overdue: [hunter2]}"), "no people for 1"),
        ((MAIL, PEOPLE, "quiet: [hunter2]"), "the events are"),
        ((MAIL, PEOPLE, "hunter2: 1"), "hunter2"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_used_is_refused_by_its_field(tmp_path: Path, lines: tuple[str, ...], said: str) -> None:
    with pytest.raises(AlertsError, match=said) as error:
        read_alerts(written(tmp_path, *lines))
    assert said == "hunter2" or "hunter2" not in str(error.value)


def test_a_secret_that_others_can_read_is_not_used(tmp_path: Path) -> None:
    path = written(tmp_path, "hunter2")
    path.chmod(0o640)
    with pytest.raises(AlertsError, match="0400") as error:
        secret_in(path)
    assert "hunter2" not in str(error.value)
    path.chmod(0o400)
    assert secret_in(path) == "hunter2"
    with pytest.raises(AlertsError, match="there is no file"):
        secret_in(tmp_path / "none")


def test_another_file_is_another_mark() -> None:
    assert Alerts().mark == Alerts().mark != Alerts(language="en").mark
