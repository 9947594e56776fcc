from __future__ import annotations

from benchmarks.__main__ import BENCHMARKS, GROUPS, write


def test_a_benchmark_replaces_its_own_section_and_no_other(tmp_path):
    path = tmp_path / "RESULTS.md"
    write({"speed": "fast\n", "exact": "close\n"}, path)
    write({"exact": "closer\n"}, path)
    text = path.read_text()
    assert "fast" in text
    assert "closer" in text
    assert "close\n" not in text
    assert text.count("\n## ") == 2


def test_sections_are_in_the_order_of_the_benchmarks(tmp_path):
    path = tmp_path / "RESULTS.md"
    for name in reversed(BENCHMARKS):
        write({name: f"table of {name}"}, path)
    text = path.read_text()
    places = [text.index(f"table of {name}") for name in BENCHMARKS]
    assert places == sorted(places)


def test_every_benchmark_is_in_one_group():
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(BENCHMARKS)
    assert not set(GROUPS) & set(BENCHMARKS)
