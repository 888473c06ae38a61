"""Texts as batches of a language model: nothing is shifted wrongly, nothing that is padding counts."""

import pytest
import torch
from torch import nn

import libasis
from libasis.data import language, without_first
from libasis.errors import OptionError


class Letters:
    """A tokenizer of letters, as transformers calls it."""

    eos_token_id, pad_token_id, padding_side = 0, 27, "right"

    def __call__(self, text, add_special_tokens=True, verbose=True):
        return {"input_ids": [ord(c) - 96 for c in text if c.isalpha()]}


def all_of(batches):
    pairs = list(batches)
    inputs = {key: torch.cat([x[key] for x, _ in pairs]) for key in pairs[0][0]}
    return inputs, torch.cat([y for _, y in pairs])


def test_documents_are_packed_and_the_targets_are_the_next_tokens():
    batches = language(Letters(), ["abc", "de"], sequence_length=4, batch_size=1)
    assert [x["input_ids"].tolist() for x, _ in batches] == [[[1, 2, 3, 0]], [[4, 5, 0, 27]]]
    inputs, targets = all_of(batches)
    assert inputs["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert targets.tolist() == [[2, 3, 0, -100], [5, 0, -100, -100]]
    assert list(batches)[0][0].keys() == {"input_ids", "attention_mask"}


def test_documents_of_their_own_and_padding_on_the_left():
    inputs, targets = all_of(
        language(Letters(), ["abc", "x", "defgh"], sequence_length=4, pack=False, padding_side="left")
    )
    assert inputs["input_ids"].tolist() == [[27, 1, 2, 3], [4, 5, 6, 7]]  # one token has no successor
    assert inputs["position_ids"].tolist() == [[0, 0, 1, 2], [0, 1, 2, 3]]
    assert targets.tolist() == [[-100, 2, 3, -100], [5, 6, 7, -100]]
    right, _ = all_of(language(Letters(), "abc", sequence_length=4, position_ids=True))
    assert right["position_ids"].tolist() == [[0, 1, 2, 3]]


def test_a_file_a_function_and_a_few_sequences(tmp_path):
    (tmp_path / "a.txt").write_text("abcdef", encoding="utf-8")
    plain = lambda text: {"input_ids": [ord(c) for c in text]}  # noqa: E731
    inputs, targets = all_of(language(plain, tmp_path / "a.txt", sequence_length=2, max_sequences=2))
    assert inputs["input_ids"].tolist() == [[97, 98], [99, 100]]
    assert targets.tolist() == [[98, -100], [100, -100]]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"sequence_length": 1}, "sequence_length is 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"max_sequences": 0}, "max_sequences is 0"),
        ({"padding_side": "top"}, "padding_side is 'top'"),
        ({"text": ""}, "no document of 2 tokens"),
        ({"text": []}, "no document of 2 tokens"),
        ({"tokenizer": 3}, "tokenizer, of type int"),
    ],
)
def test_what_cannot_be_is_refused(options, said):
    given = {"tokenizer": Letters(), "text": "a", **options}
    if "text" not in options:
        given["text"] = "abc"
    with pytest.raises(OptionError, match=said):
        language(**given)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(30, 4), nn.Linear(4, 30)

    def forward(self, input_ids, attention_mask, position_ids=None):
        return self.head(self.embed(input_ids))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_first_token_is_left_out_wherever_padding_stands(side):
    batches = language(Letters(), ["abc", "defgh"], sequence_length=6, pack=False, padding_side=side)
    example = batches.example()
    for mask, expected in (("attention_mask", 8), (without_first(), 6), (without_first(2), 4)):
        traced = libasis.trace(Model().eval(), example, ["embed:out", "output"], mask=mask)
        record = traced.record(example)
        assert record.count(0) == expected
    first = without_first()({"input_ids": example["input_ids"]})
    assert first.tolist() == [[False, True, True, True, True, True]] * 2
    assert torch.equal(without_first()(example["input_ids"]), first)
    assert torch.equal(without_first()((example["input_ids"],)), first)
