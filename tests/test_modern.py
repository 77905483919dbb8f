"""ModernBERT: equal to BERT without changes, and to theirs with all of them."""

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from minibert.batching import pack
from minibert.bert import BertModel
from minibert.config import BertConfig
from minibert.modern import (
    MODERN,
    Changes,
    ModernBertForMaskedLM,
    ModernBertModel,
    RotaryAttention,
    rotate,
)

SIZES = {
    "vocab_size": 99, "hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 4,
}  # fmt: skip


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[nn.Module, Path]:
    config = transformers.ModernBertConfig(
        **SIZES, intermediate_size=32, local_attention=6, pad_token_id=0, bos_token_id=1,
        eos_token_id=2, cls_token_id=1, sep_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.ModernBertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.ndim == 1:
                one.add_(torch.randn_like(one) * 0.1)
    folder = tmp_path_factory.mktemp("modern")
    model.save_pretrained(folder)
    return model, folder


@torch.no_grad()
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_equals_theirs_padded_packed_and_longer_than_the_window(theirs, attention):
    model, folder = theirs
    model.set_attn_implementation(attention)
    ours = ModernBertForMaskedLM.from_pretrained(folder)
    ids = torch.randint(3, 99, (3, 17), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 9:] = mask[2, 2:] = 0
    ids[mask == 0] = 0
    want = model(ids, attention_mask=mask).logits
    got = ours(ids, mask).logits
    real = mask.bool()
    assert (want - got)[real].abs().max() < 1e-5
    assert want.std() > 0.1
    packed = pack({"input_ids": ids, "attention_mask": mask})
    rows = ours(packed["input_ids"], packed["attention_mask"]).logits[0]
    assert (rows - want[real]).abs().max() < 1e-5
    body = ModernBertModel.from_pretrained(folder)
    hidden = body(ids, mask).last_hidden_state
    assert (hidden - model.model(ids, attention_mask=mask)[0])[real].abs().max() < 1e-5


@torch.no_grad()
def test_without_changes_it_is_bert():
    config = BertConfig(**SIZES, intermediate_size=64, max_position_embeddings=20)
    bert = BertModel(config, add_pooling_layer=False).eval()
    same = ModernBertModel(config, Changes()).eval()
    state = {name.removeprefix("encoder."): t for name, t in bert.state_dict().items()}
    same.load_state_dict(state)
    ids = torch.randint(1, 99, (2, 17))
    mask = torch.ones_like(ids)
    mask[1, 9:] = 0
    want = bert(ids, mask, output_attentions=True, output_hidden_states=True)
    got = same(ids, mask, output_attentions=True, output_hidden_states=True)
    assert want.last_hidden_state.equal(got.last_hidden_state)
    assert all(map(torch.equal, want.hidden_states, got.hidden_states))
    assert all(map(torch.equal, want.attentions, got.attentions))
