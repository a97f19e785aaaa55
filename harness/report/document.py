"""The page as one self-contained HTML document, and what a browser may do with it."""

import base64
import hashlib

from harness.report.markup import text


def document(title: str, body: str, script: str, style: str, allowed: str = "", head: str = "") -> str:
    """script: '' for none; allowed: directives of the page's policy besides its script and styles; head: HTML for the
    head"""
    runs = f"<script>{script}</script>" if script else ""
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{text(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{_policy(script)}{allowed}">'
        f"<style>{style}</style>{head}</head>\n<body><main>\n{body}\n</main>{runs}</body></html>\n"
    )


def _policy(own: str) -> str:
    """What a browser may run and load: our script and styles, nothing else. Records may be anybody's."""
    digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
    return f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:"
