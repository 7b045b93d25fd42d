"""The bar: one rewritten line in a terminal, about ten lines in a file."""

import io

from dpkit.demo.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def _shown(stream, total):
    bar = Progress(total, stream)
    for done in range(1, total + 1):
        bar.update(done, "accuracy 50.00%")
    return stream.getvalue()


def test_terminal_rewrites_one_line():
    text = _shown(Terminal(), 40)
    assert text.count("\r") == 40
    assert text.count("\n") == 1
    assert text.endswith("\n")


def test_file_gets_ten_lines():
    text = _shown(io.StringIO(), 40)
    assert text.count("\n") == 10
    assert "\r" not in text
    assert "round 40/40" in text
    assert "accuracy 50.00%" in text
