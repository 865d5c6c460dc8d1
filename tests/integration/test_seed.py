"""What a deployment begins with."""

from __future__ import annotations

import pytest

from core import keys, registry
from core.backend import Backend
from core.errors import Invalid
from core.keys import recognise
from lethe import seed
from tests.factories import make_dataset, make_model


@pytest.fixture
def at_the_backend(postgres_backend: Backend, monkeypatch: pytest.MonkeyPatch) -> Backend:
    """What the environment names is PostgreSQL, as in a container."""
    settings = postgres_backend.settings
    assert settings.database_url
    assert settings.secret
    monkeypatch.setenv("LETHE_HOME", str(settings.home))
    monkeypatch.setenv("LETHE_DATABASE_URL", settings.database_url)
    monkeypatch.setenv("LETHE_SECRET", settings.secret.get_secret_value())
    return postgres_backend


@pytest.mark.long
def test_a_first_start_makes_all_and_a_second_one_nothing(postgres_backend: Backend) -> None:
    made = seed.seed(postgres_backend, epochs=1)
    assert [each.split(",")[0] for each in made] == [
        "an API key with all scopes",
        "data set digits",
        "model digits",
    ]
    text = (postgres_backend.settings.home / "api-key").read_text().strip()
    with postgres_backend.db.reading() as session:
        caller = recognise(session, text)
        model = registry.model_named(session, "digits")
        assert registry.serving(session, model.id)
    assert (caller.name, caller.scopes) == ("first", set(keys.SCOPES))
    assert seed.seed(postgres_backend) == []


def test_what_is_there_stays_as_it_is(postgres_backend: Backend) -> None:
    make_model(postgres_backend, make_dataset(postgres_backend, "digits"))
    (made,) = seed.seed(postgres_backend)
    assert made.startswith("an API key with all scopes, kept in ")
    assert seed.seed(postgres_backend) == []


def test_a_key_that_was_revoked_is_not_made_anew(postgres_backend: Backend) -> None:
    assert len(seed.seed(postgres_backend, "no")) == 1
    with postgres_backend.db.transaction() as tx:
        (key,) = keys.listed(tx.session)
        keys.revoke(tx, key.id)
    assert seed.seed(postgres_backend, "no") == []


def test_as_a_command(at_the_backend: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    assert seed.main(["no"]) == 0
    assert "Made an API key with all scopes" in capsys.readouterr().err
    assert seed.main(["no"]) == 0
    assert "Nothing to make" in capsys.readouterr().err
    assert seed.main(["cifar"]) == 1
    assert "'cifar' cannot be begun with; use digits or no" in capsys.readouterr().err
    with pytest.raises(Invalid):
        seed.seed(at_the_backend, "")
