"""How many tokens a report has at least, told without a tokenizer.

Word-piece tokenizers cut at white space and punctuation first, so the words and marks of a report
are the fewest tokens it can have. The exact number is `TokenizedReport.num_truncated`, at training.
"""

import re

from mg3d.data.text.reports import Report

DEFAULT_MAX_TOKENS = 250
"""arXiv:2412.05876."""
NUM_SPECIAL_TOKENS = 2
"""One before and one after a text."""
_WORD_OR_MARK = re.compile(
    r"[\u3400-\u4dbf\u4e00-\u9fff]|[^\W_\u3400-\u4dbf\u4e00-\u9fff]+|[^\w\s]|_"
)


def count_tokens_at_least(report: Report) -> int:
    """Words and punctuation marks of both sections, and the two special tokens."""
    text = f"{report.findings} {report.impression}"
    return len(_WORD_OR_MARK.findall(text)) + NUM_SPECIAL_TOKENS
