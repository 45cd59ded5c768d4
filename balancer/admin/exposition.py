"""Metrics as text, in the format of Prometheus and in that of OpenMetrics.

The library's own families make an object and a dict of each sample, and its writers look at every letter of every label
name and value each time; with 500 backends that took 0.2 s of a processor at each scrape. Here a sample is a tuple, and
a set of labels is written once for all the metrics and scrapes that have it. The formats differ in the name of a
counter's family (OpenMetrics leaves out ``_total``) and in the types they know.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from prometheus_client.core import Metric

PLAIN = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
EOF = "# EOF\n"
"""The last line of an OpenMetrics text."""

Labels = tuple[tuple[str, ...], tuple[str, ...]]
"""Names and values."""

_AS_GAUGE = {"info": "_info"}
"""Types that the Prometheus format does not have, with the suffix of their samples."""
_ODD = {"nan": "NaN", "inf": "+Inf", "-inf": "-Inf"}


class Family:
    """A metric family: what the library's ``GaugeMetricFamily`` and ``CounterMetricFamily`` are, but cheaper."""

    __slots__ = ("documentation", "labels", "name", "samples", "type")

    def __init__(self, kind: Literal["counter", "gauge"], name: str, documentation: str, labels: Sequence[str]) -> None:
        self.type = kind
        self.name = name
        self.documentation = documentation
        self.labels = tuple(labels)
        self.samples: list[tuple[tuple[str, ...], float]] = []

    def add(self, value: float, *labels: str) -> None:
        """Add a sample with these label values."""
        self.samples.append((labels, value))


class Writer:
    """Writes the families of one scrape. ``openmetrics`` selects the format; ``known`` are the last scrape's labels."""

    def __init__(self, *, openmetrics: bool, known: Mapping[Labels, str] | None = None) -> None:
        self._openmetrics = openmetrics
        self._former = known or {}
        self.labels: dict[Labels, str] = {}
        """Label sets of this scrape, rendered."""

    def text(self, family: Metric | Family) -> str:
        """Return a family as text: help, type and samples."""
        name, kind = family.name, family.type
        if not self._openmetrics:
            name += "_total" if kind == "counter" else _AS_GAUGE.get(kind, "")
            kind = "gauge" if kind in _AS_GAUGE else kind
        about = _escaped(family.documentation)
        if not self._openmetrics:  # quotes are not escaped in help texts
            about = about.replace(r"\"", '"')
        lines = [f"# HELP {name} {about}\n# TYPE {name} {kind}\n"]
        if isinstance(family, Family):
            ending = "_total" if family.type == "counter" else ""
            known, names, sample_name = self.labels, family.labels, family.name + ending
            for values, value in family.samples:
                key = (names, values)
                number = repr(float(value))
                lines.append(f"{sample_name}{known.get(key) or self._known(key)} {_ODD.get(number) or number}\n")
        else:
            for sample in family.samples:
                number = repr(float(sample.value))
                labels = _written(tuple(sample.labels), tuple(sample.labels.values()))
                lines.append(f"{sample.name}{labels} {_ODD.get(number) or number}\n")
        return "".join(lines)

    def _known(self, key: Labels) -> str:
        text = self.labels[key] = self._former.get(key) or _written(*key)
        return text


def _written(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return f"{{{','.join(pairs)}}}" if pairs else ""


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
