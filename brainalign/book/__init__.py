"""What a page of the book needs: its numbers and its claims."""

from brainalign.book.report import Report

__all__ = ["Report"]
