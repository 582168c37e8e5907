"""The least number of tokens, against word-piece tokenizers."""

import pytest
from tokenizers import normalizers, pre_tokenizers

from mg3d.data.text.reports import Report
from mg3d.data.text.token_count import NUM_SPECIAL_TOKENS, count_tokens_at_least
from mg3d.data.text.tokens import ReportTokenizer

REPORTS = [
    Report("The heart is normal in size. No pleural effusion; clear lungs.", "1. Normal."),
    Report("A 2.5 x 1.4 cm nodule (Image 30/116) in the left-upper lobe's apex_zone, ≥ 5 %."),
    Report("", "右肺上叶 nodule, naïve µg."),
]


@pytest.mark.parametrize("report", REPORTS)
def test_it_is_the_number_of_words_that_bert_cuts(report: Report) -> None:
    text = normalizers.BertNormalizer().normalize_str(f"{report.findings} {report.impression}")
    words = pre_tokenizers.BertPreTokenizer().pre_tokenize_str(text)
    assert count_tokens_at_least(report) == len(words) + NUM_SPECIAL_TOKENS


@pytest.mark.parametrize("report", REPORTS)
def test_a_trained_tokenizer_needs_at_least_as_many(report: Report) -> None:
    texts = [each.findings + each.impression for each in REPORTS]
    tokens = ReportTokenizer.train(texts, 400)(report)
    assert len(tokens.token_ids) + tokens.num_truncated >= count_tokens_at_least(report)
