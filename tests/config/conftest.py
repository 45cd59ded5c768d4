"""What `check` says about a text."""

import pytest

from balancer.config.load import check

NOW = 1_907_712_000.0  # 2030-06-15 00:00 UTC


@pytest.fixture
def judge(tmp_path):
    """From the text of a file to (problems, warnings), each as `line: key: message`."""

    def judge(text):
        path = tmp_path / "balancer.toml"
        path.write_text(text)
        report = check(path, NOW)
        assert (report.config is None) == bool(report.problems)
        return tuple(
            [str(each).removeprefix(f"{path}:").strip() for each in found]
            for found in (report.problems, report.warnings)
        )

    return judge
