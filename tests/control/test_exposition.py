"""Metrics as text are what the library's own parsers and writers take them for."""

import math

from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, InfoMetricFamily
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse

from balancer.admin.exposition import EOF, Family, Writer

TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc"), include_characters="\n"), max_size=12)
VALUES = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53)


class Registry(CollectorRegistry):
    def __init__(self, family):
        super().__init__()
        self.family = family

    def collect(self):
        yield self.family


def families(label, help_text, value):
    gauge = GaugeMetricFamily("balancer_gauge", help_text, labels=["pool", "file"])
    gauge.add_metric([label, "x"], value)
    gauge.add_metric(["x", label], -value)
    counter = CounterMetricFamily("balancer_counter", help_text, labels=["pool"])
    counter.add_metric([label], abs(value))
    histogram = HistogramMetricFamily("balancer_seconds", help_text, labels=["pool"])
    histogram.add_metric([label], [("0.5", 1.0), ("+Inf", 3.0)], abs(value))
    info = InfoMetricFamily("balancer_thing", help_text, labels=["pool"])
    info.add_metric([label], {"version": label})
    return gauge, counter, histogram, info


@given(TEXT, TEXT, VALUES)
@example('a\\b"c\nd', 'quoted "so" \\ and\nso', math.inf)
def test_both_formats_say_what_the_library_says(label, help_text, value):
    for family in families(label, help_text, value):
        ours = list(parse(Writer(openmetrics=False).text(family)))
        assert ours == list(parse(generate_latest(Registry(family)).decode()))
        text = Writer(openmetrics=True).text(family)
        assert list(parse_openmetrics(text + EOF)) == list(
            parse_openmetrics(generate_openmetrics(Registry(family)).decode())
        )


@given(TEXT, TEXT, VALUES | st.booleans())
@example("", "", math.nan)
def test_families_of_ours_are_written_as_the_library_s(label, help_text, value):
    theirs, *_ = families(label, help_text, value)
    ours = Family("gauge", theirs.name, help_text, ["pool", "file"])
    for first, second, number in [(label, "x", value), ("x", label, -value)]:
        ours.add(number, first, second)
    counter = Family("counter", "balancer_counter", help_text, [])
    counter.add(value)
    for openmetrics in (False, True):
        writer = Writer(openmetrics=openmetrics)
        assert writer.text(ours) == Writer(openmetrics=openmetrics).text(theirs)
        assert Writer(openmetrics=openmetrics, known=writer.labels).text(ours) == writer.text(ours)
        expected = CounterMetricFamily("balancer_counter", help_text, value=value)
        assert writer.text(counter) == Writer(openmetrics=openmetrics).text(expected)


def test_a_number_that_is_none():
    assert Writer(openmetrics=False).text(GaugeMetricFamily("a", "b", value=math.nan)).endswith("\na NaN\n")
