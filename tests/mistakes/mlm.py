# %% 1. the loss in nats
answer = math.log(119547)

# %% 1. the loss in bits
answer = math.log2(119547)

# %% 1. turn it over
answer = 1 / 119547

# %% 1. BERT's English vocabulary
answer = 30522

# %% 1. a loss in nats goes with exp
answer = 2 ** math.log(119547)

# %% 2. those are the chosen; one in ten
answer = 0.15

# %% 2. those are the [MASK]
answer = 0.15 * 0.8

# %% 2. among the chosen
answer = 0.8 + 0.1

# %% 2. that stay as they are
answer = 0.15 * 0.1

# %% 2. in percent
answer = 13.5

# %% 3. upside down
answer = lambda hidden, labels: labels.where(hidden != tokenizer.mask_id, IGNORE)

# %% 3. a label of 0 is not skipped
answer = lambda hidden, labels: labels * (hidden == tokenizer.mask_id)

# %% 3. nothing is left
answer = lambda hidden, labels: labels.where(labels == tokenizer.mask_id, IGNORE)

# %% 3. a random piece, no [MASK]
answer = lambda hidden, labels: labels.where(hidden != labels, IGNORE)

# %% 3. not [MASK]
answer = lambda hidden, labels: hidden.where(hidden == tokenizer.mask_id, IGNORE)

# %% 3. True and False
answer = lambda hidden, labels: (hidden == tokenizer.mask_id) & (labels != IGNORE)

# %% 3. the given labels are changed
def answer(hidden, labels):
    labels[hidden != tokenizer.mask_id] = IGNORE
    return labels

# %% 4. softmax twice
answer = lambda logits, labels: F.cross_entropy(
    logits.softmax(-1).flatten(0, 1), labels.flatten()
)

# %% 4. transpose(1, 2) moves them
answer = lambda logits, labels: F.cross_entropy(logits.view(2, 7, 5), labels)

# %% 4. divide by B S
answer = lambda logits, labels: F.cross_entropy(
    logits.transpose(1, 2), labels, reduction="none"
).mean()

# %% 4. mean of two rows' means
answer = lambda logits, labels: sum(map(F.cross_entropy, logits, labels)) / len(labels)

# %% 4. that is the sum
answer = lambda logits, labels: F.cross_entropy(
    logits.transpose(1, 2), labels, reduction="sum"
)

# %% 4. probabilities where their logarithms belong
def answer(logits, labels):
    chosen = labels != IGNORE
    return -logits[chosen].softmax(-1).gather(1, labels[chosen][:, None]).mean()

# %% 4. piece 0 is asked for
answer = lambda logits, labels: F.cross_entropy(
    logits.transpose(1, 2), labels.clamp(min=0)
)

# %% 5. accuses Masking
answer = lambda hide, ids: any((hide(ids).input_ids == tokenizer.mask_id).any() for _ in range(20))

# %% 5. it misses a masking that chooses [CLS]
answer = lambda hide, ids: False

# %% 5. it misses a masking that chooses [SEP]
answer = lambda hide, ids: any((hide(ids).labels[:, 0] != IGNORE).any() for _ in range(20))

# %% 5. it misses a masking that chooses [PAD]
answer = lambda hide, ids: any(
    (hide(ids).labels[(ids == tokenizer.cls_id) | (ids == tokenizer.sep_id)] != IGNORE).any()
    for _ in range(20)
)

# %% 5. it made 1 of 20
answer = lambda hide, ids: any(
    (hide(ids.repeat(40, 1)).labels[ids.repeat(40, 1) < len(SPECIAL)] != IGNORE).any()
    for _ in range(1)
)

# %% 6. the number is fixed
answer = lambda ordinary: (torch.rand(ordinary.shape) < 0.15) & ordinary

# %% 6. of 2 ordinary tokens 0 are chosen
def drawn(ordinary, number):
    lot = torch.rand(ordinary.shape).masked_fill(~ordinary, 2.0)
    return lot.argsort(1).argsort(1) < number


answer = lambda ordinary: drawn(ordinary, (0.15 * ordinary.sum(1, keepdim=True)).round())

# %% 6. of 25 ordinary tokens 3 are chosen
answer = lambda ordinary: drawn(
    ordinary, (0.15 * ordinary.sum(1, keepdim=True)).long().clamp(min=1)
)

# %% 6. of 8 ordinary tokens 2 are chosen
answer = lambda ordinary: drawn(
    ordinary, (0.15 * (ordinary.sum(1, keepdim=True) + 2)).round().clamp(min=1)
)

# %% 6. a special token is chosen
answer = lambda ordinary: torch.rand(ordinary.shape).argsort(1).argsort(1) < (
    0.15 * ordinary.sum(1, keepdim=True)
).round().clamp(min=1)

# %% 6. the same tokens
answer = lambda ordinary: ordinary & (
    ordinary.cumsum(1) <= (0.15 * ordinary.sum(1, keepdim=True)).round().clamp(min=1)
)
