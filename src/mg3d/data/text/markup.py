"""Markup: reports that were exported as HTML or RTF, or with escaped line breaks, as plain text.

Only what is certainly markup goes: "<5 mm" and "mass\\nodule" stay as they are.
"""

import html
import re

from mg3d.data.text.rtf import is_rtf, rtf_to_text

_BLOCKS = r"p|div|ul|ol|table|thead|tbody|h[1-6]|body|html|head|pre|blockquote|title"
_LINES = r"br|tr|hr"
_INLINE = r"b|i|u|s|em|strong|span|font|sup|sub|small|big|a|td|th|center|code|mark|meta|link|style"
_TAG = re.compile(
    rf"</?(?:(?P<block>{_BLOCKS})|(?P<line>{_LINES})|(?P<item>li)|{_INLINE})(?:\s[^<>]{{0,500}})?/?>",
    re.IGNORECASE,
)
_UNSEEN = re.compile(
    r"<!--.{0,2000}?-->|<!doctype[^<>]{0,200}>|<(style|script)\b[^<>]{0,200}>.{0,5000}?</\1>",
    re.IGNORECASE | re.DOTALL,
)
_AMPERSANDS = re.compile(r"&(?:(?:amp|#38|#x26);)+", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[0-9a-f]{1,6}|[a-z]{2,8}\d{0,2});", re.IGNORECASE)
_ESCAPED_BREAK = re.compile(r"_x000[dD]_\n?|\\r\\n|\\n(?=[\sA-Z0-9(*\u2022\\-]|$)")
_MOST_ROUNDS = 6
"""Of markup inside escaped markup; deeper nesting is no report."""


def strip_markup(text: str) -> str:
    """Take HTML tags and entities, RTF control words and escaped line breaks out of a text.

    Paragraphs become blank lines, list items dashes. Stripping again changes nothing.
    """
    for _ in range(_MOST_ROUNDS):
        plain = _strip_once(text)
        if plain == text:
            return text
        text = plain
    return _strip_once(text.replace("<", " ").replace("&", " ").replace("\\", " "))


def _strip_once(text: str) -> str:
    if is_rtf(text):
        text = rtf_to_text(text)
    if "\\" in text or "_x000" in text:
        text = _ESCAPED_BREAK.sub("\n", text)
    if "<" in text:
        text = _TAG.sub(_replace_tag, _UNSEEN.sub(" ", text))
    if "&" in text:
        text = _ENTITY.sub(lambda match: html.unescape(match[0]), _AMPERSANDS.sub("&amp;", text))
    return text


def _replace_tag(match: re.Match[str]) -> str:
    closes = match[0].startswith("</")
    if match["block"]:
        return "\n\n"
    if match["line"]:
        return "\n"
    if match["item"]:
        return "\n" if closes else "\n- "
    return " " if match[0].lower().startswith(("<td", "<th", "</t")) else ""
