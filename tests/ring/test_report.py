"""Reports say what is in the values they are made of, and never the token."""

import json
from dataclasses import replace

import pytest
from ring_pools import ALGORITHMS, pool

from balancer.ring.build import build
from balancer.ring.explain import Candidate, explain
from balancer.ring.plan import plan, side
from balancer.ring.report import explain_json, explain_text, plan_json, plan_text, show_json, show_text

WEIGHTS = {"ide-01": 1, "ide-02": 2, "ide-03": 1}


def rows(text):
    """The words of the lines of a table, by the first."""
    return {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.startswith("  ")}


def test_explanation():
    ring = build(pool(WEIGHTS))
    owner, first, second = ring.order(b"hunter2")
    text = explain_text("ide", explain(ring, b"hunter2"))
    assert text.splitlines()[0] == f"pool ide, ring {ring.fingerprint} of 3 backends"
    assert rows(text) == {"owner": [owner]}
    assert f"successor  {first}\nsuccessor  {second}\n" in text
    assert text.endswith(f"this user's next connection goes to {owner}; if that host is lost, to {first}")
    assert "hunter2" not in text
    found = explain_json("ide", explain(ring, b"hunter2"))
    assert "hunter2" not in json.dumps(found)
    assert (found["owner"], found["placed"], found["if_lost"]) == (owner, owner, first)
    assert int(found["position"], 16) == ring.position(b"hunter2")


def test_explanation_with_skipped_candidates_and_a_rule():
    ring = build(pool(WEIGHTS))
    owner, first, second = ring.order(b"x")
    found = explain(ring, b"x")
    candidates = (Candidate(owner, "down"), *found.candidates[1:])
    text = explain_text("ide", replace(found, candidates=candidates))
    assert f"{owner}, skipped: down" in text
    assert text.endswith(f"this user's next connection goes to {first}; if that host is lost, to {second}")
    pinned = replace(found, rule="pinned", overridden=second)
    assert f"pinned: {second}" in explain_text("ide", pinned)
    assert explain_json("ide", pinned)["placed"] == second
    nobody = replace(found, candidates=tuple(Candidate(each.backend, "down") for each in found.candidates))
    assert explain_text("ide", nobody).endswith("no backend can take this user")


def test_a_short_explanation_says_how_many_are_left_out():
    ring = build(pool({f"ide-{number:02}": 1 for number in range(12)}))
    assert "and 4 more" in explain_text("ide", explain(ring, b"x", limit=8))


def test_a_single_backend():
    ring = build(pool({"only": 1}))
    assert "there is no other" in explain_text("ide", explain(ring, b"x"))
    assert "of 1 backend\n" in explain_text("ide", explain(ring, b"x"))
    assert "no other backend to take over" in show_text("ide", "ring", ring)
    assert show_json("ide", "ring", ring)["worst_loss"] is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_show(name):
    ring = build(pool(WEIGHTS, ALGORITHMS[name]))
    text = show_text("ide", name, ring)
    assert ring.fingerprint in text
    for backend, cells in rows(text).items():
        if backend != "backend":
            assert cells[0] == f"{WEIGHTS[backend]:g}"
            assert f"{100 * side(ring).shares[backend]:.2f}" in cells
            assert str(ring.point_counts().get(backend, "")) in [*cells, ""]
    found = json.loads(json.dumps(show_json("ide", name, ring)))
    assert found["shares"] == side(ring).shares
    assert found["points"] == ring.point_counts()


def test_balance_in_words():
    few = show_text("ide", "ring", build(pool(dict.fromkeys("abcdef", 1), {"points": 2})))
    assert "uneven: the fullest" in few
    assert "raise points" in few
    assert "\neven: the fullest" in show_text("ide", "maglev", build(pool(WEIGHTS, ALGORITHMS["maglev"])))


def test_plan():
    before, after = build(pool(WEIGHTS)), build(pool({"ide-01": 1, "ide-02": 1, "ide-04": 1}))
    found = plan(before, after)
    text = plan_text("ide", found)
    assert f"plan {found.id}, ring {before.fingerprint} to {after.fingerprint}" in text
    assert f"{100 * found.moved:.2f} % of all tokens move (exact)" in text
    assert "\n0.00 % move unnecessarily" in text
    for move in found.moves:
        line = f"{move.source}  {move.target}  {100 * move.share:.2f} %"
        assert line in text.replace("   ", "  ").replace("   ", "  ")
    table = rows(text)
    assert table["ide-04"][:2] == ["none", "1"]
    assert table["ide-03"].count("none") == 2
    data = json.loads(json.dumps(plan_json("ide", found)))
    assert data["exact"] is True
    assert data["moved"] == found.moved
    assert sum(move["share"] for move in data["moves"]) == pytest.approx(found.moved)


def test_a_sampled_plan_says_so():
    text = plan_text("ide", plan(build(pool(WEIGHTS)), build(pool(WEIGHTS, ALGORITHMS["rendezvous"]))))
    assert "(sample of 10000, standard error 0." in text


def test_many_moves_are_summed_up():
    before = build(pool({f"ide-{number:02}": 1 for number in range(10)}))
    after = build(pool({f"ide-{number:02}": 1 for number in range(5, 15)}))
    found = plan(before, after)
    assert found.pairs == len(found.moves)
    assert f"{found.pairs - 20} other pairs" in plan_text("ide", found)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_plans_of_500_backends_are_bounded(name):
    """Map-based, nearly all tokens move, between 250,000 pairs of backends."""
    weights = {f"ide-{number:03}": (1, 0.3, 2)[number % 3] for number in range(500)}
    before = build(pool(weights, ALGORITHMS[name], ids=False))
    found = plan(before, build(pool(weights | {"ide-007": 3}, ALGORITHMS[name], ids=False)))
    data = plan_json("ide", found)
    assert len(json.dumps(data)) < 200_000
    listed = sum(move["share"] for move in data["moves"])
    assert listed < data["moved"] if data["pairs"] > len(data["moves"]) else listed == pytest.approx(data["moved"])
    others = next((line for line in plan_text("ide", found).splitlines() if "other pairs" in line), "")
    assert found.pairs <= 20 or others.split()[0] == str(found.pairs - 20)
    assert len(json.dumps(show_json("ide", name, before))) < 200_000


def test_no_change():
    ring = build(pool(WEIGHTS))
    assert "\n0.00 % of all tokens move (exact)\n" in plan_text("ide", plan(ring, ring))


def test_reports_as_operators_see_them():
    before = build(pool(WEIGHTS, {"points": 8}))
    after = build(pool({"ide-01": 1, "ide-02": 1, "ide-04": 0.5}, {"points": 8}))
    assert (
        plan_text("ide", plan(before, after))
        == """\
pool ide: plan 7c292cd42086ae3a, ring e4a53e378f7cda52 to ca97ca8791306071
42.97 % of all tokens move (exact)
0.00 % move unnecessarily, between backends whose weights do not require it
  from    to        share
  ide-03  ide-02  15.18 %
  ide-02  ide-04  12.53 %
  ide-02  ide-01   5.44 %
  ide-03  ide-01   5.24 %
  ide-03  ide-04   4.58 %
  backend  weight  after    share    after  of fair
  ide-01        1      1  30.27 %  40.95 %     1.02
  ide-02        2      1  44.73 %  41.94 %     1.05
  ide-03        1   none  25.01 %     none
  ide-04     none    0.5     none  17.11 %     0.86
before: fairly even: the fullest, ide-01, has 1.21 of its fair share
after: even: the fullest, ide-02, has 1.05 of its fair share
worst single loss: without ide-02, ide-01 has 2.06 of its fair share"""
    )
    assert (
        show_text("ide", "ring", before)
        == """\
pool ide: ring, 3 backends, fingerprint e4a53e378f7cda52
  backend  weight  points    share  of fair
  ide-01        1       8  30.27 %     1.21
  ide-02        2      16  44.73 %     0.89
  ide-03        1       8  25.01 %     1.00
fairly even: the fullest, ide-01, has 1.21 of its fair share
worst single loss: without ide-02, ide-01 has 2.47 of its fair share"""
    )
    assert (
        explain_text("ide", explain(before, b"ann"))
        == """\
pool ide, ring e4a53e378f7cda52 of 3 backends
hash 0x7e0d7f8a5d96c24f, which belongs to 0x829070d870554f4b
    owner  ide-01
successor  ide-02
successor  ide-03
this user's next connection goes to ide-01; if that host is lost, to ide-02"""
    )
