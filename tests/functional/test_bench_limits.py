"""bench.limits measures both services by the same calls, and none of them is refused."""

from __future__ import annotations

import json

import pytest

from bench import limits


def test_both_are_called_alike(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "KEPT", 1000)
    services, measured = [], limits._measured

    def watched(service: limits.Service, rounds: int) -> object:
        services.append(service)
        return measured(service, rounds)

    monkeypatch.setattr(limits, "_measured", watched)
    assert limits.main(["--rounds", "8", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["rows"]] == ["post", "read"]
    for row in told["rows"]:
        low, high = row["difference_interval_us"]
        assert low <= row["difference_us"] <= high
        assert min(row["on_us"], row["off_us"]) > row["limiter_alone_us"] > 0
    [service] = services
    on, off = (limiter._storage._window.storage.storage for limiter in service.limiters)
    assert len(on) > 8 * limits.CALLS, "each person's erasures, the key's and the address's"
    assert not off
    assert "post" in limits._table(told["rows"], told["counter"])


@pytest.mark.parametrize("rounds", ["7", "81"])
def test_so_many_that_the_limit_itself_would_be_met_are_refused(rounds: str) -> None:
    with pytest.raises(SystemExit):
        limits.main(["--rounds", rounds])
