"""What a page of the book needs: its numbers and claims (`report`), its run (`runs`), the command line (`cli`)."""

from __future__ import annotations

from typing import Any

__all__ = ["Report"]


def __getattr__(name: str) -> Any:
    if name == "Report":  # on use: the command line answers before the numerical libraries are there
        from brainalign.book.report import Report

        return Report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
