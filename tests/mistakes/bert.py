# %% 1. those are bits
answer = math.log2(30522)

# %% 1. that is a probability
answer = 1 / 30522

# %% 1. base 10
answer = math.log10(30522)

# %% 1. the small model
answer = 8.3

# %% 1. for two classes
answer = math.log(2)

# %% 2. the padding counts
answer = lambda x, mask: x.mean(1)

# %% 2. you divide by S
answer = lambda x, mask: (x * mask[..., None]).mean(1)

# %% 2. that is the sum
answer = lambda x, mask: (x * mask[..., None]).sum(1)

# %% 2. first token's vector
answer = lambda x, mask: x[:, 0]

# %% 2. not (2, 3)
answer = lambda x, mask: x[mask.bool()].mean(0)

# %% 3. the mean's share
def share(both):
    scores = F.normalize(both[0], dim=-1) @ F.normalize(both[1], dim=-1).T
    return (scores.argmax(1) == torch.arange(100)).float().mean().item()


batches = [
    tokenizer(several, max_length=16)
    for several in (questions[:100], [texts[i] for i in asked_for[:100]])
]
with torch.no_grad():
    outs = [model(*batch) for batch in batches]
real = [batch.attention_mask[..., None] for batch in batches]
answer = share([(o[0] * r).sum(1) / r.sum(1) for o, r in zip(outs, real, strict=True)])

# %% 3. fill with [PAD]
answer = share([out[0][:, -1] for out in outs])

# %% 3. counts the padding
answer = share([out[0].mean(1) for out in outs])

# %% 3. in percent
answer = 100 * share([out[0][:, 0] for out in outs])

# %% 4. softmax runs over rows
answer = "a"

# %% 4. rounding is far smaller
answer = "b"

# %% 4. load in silence
answer = "d"

# %% 5. from all or from none
anew = torch.cat([torch.arange(8), torch.arange(5)])[None]
answer = torch.ones(1, 13).long(), anew

# %% 5. starts at position 8
which = torch.tensor([0] * 8 + [1] * 5)
answer = (which[:, None] == which)[None].long(), torch.arange(13)[None]

# %% 5. upside down
answer = (which[:, None] != which)[None].long(), anew

# %% 5. of its own text
answer = (which[:, None] == which)[None].long().tril(), anew

# %% 5. of the other text
answer = torch.ones(1, 13, 13).long(), anew

# %% 6. after 4 layers; you say 3
def differences(a, b):
    row = tokenizer("The dog bit the man.")
    with torch.no_grad():
        states = [m(*row, output_hidden_states=True).hidden_states for m in (a, b)]
    return [(x - y).abs().max().item() for x, y in zip(*states, strict=True)]


def first_over(bound, row):
    return next((n for n, gap in enumerate(row) if gap > bound), None)


answer = lambda a, b: first_over(1e-4, differences(a, b)[1:])

# %% 6. the first of two faults
def answer(a, b):
    row = differences(a, b)
    return row.index(max(row)) if max(row) > 1e-4 else None

# %% 6. a millionth is rounding
answer = lambda a, b: first_over(0, differences(a, b))

# %% 6. None, not 0
answer = lambda a, b: first_over(1e-4, differences(a, b)) or 0

# %% 6. compare the two that are given
answer = lambda a, b: first_over(1e-4, differences(model, b))
