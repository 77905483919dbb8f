# %% 1. the bias is missing
answer = 384 * 12

# %% 1. a number for each class, not
answer = 384 * 12 + 384

# %% 1. for each of the 12 classes
answer = 384 + 12

# %% 1. the pooler is in the body
answer = 384 * 384 + 384 + 384 * 12 + 12

# %% 2. an attribute that nobody reads
answer = lambda model: setattr(model.bert.embeddings, "requires_grad", False)

# %% 2. 4 tensors still train
answer = lambda model: model.bert.embeddings.token.requires_grad_(False)

# %% 2. more are frozen
answer = lambda model: model.bert.requires_grad_(False)

# %% 2. eval() only stops dropout
answer = lambda model: model.eval()

# %% 3. that counts tensors
answer = lambda model: np.mean([p.requires_grad for p in model.parameters()])

# %% 3. all is counted
answer = lambda model: sum(p.numel() for p in model.parameters()) / sum(
    p.numel() for p in model.parameters()
)

# %% 3. the share that is frozen
answer = lambda model: sum(
    p.numel() for p in model.parameters() if not p.requires_grad
) / sum(p.numel() for p in model.parameters())

# %% 3. that is a count
answer = lambda model: sum(p.numel() for p in model.parameters() if p.requires_grad)

# %% 4. the spread of single runs
answer = 2

# %% 4. the error of one mean
answer = 2 / 5**0.5

# %% 4. errors do not add
answer = 2 / 5**0.5 + 2 / 5**0.5

# %% 4. not of two means
answer = (2**2 + 2**2) ** 0.5

# %% 4. the root of 5
answer = (2**2 + 2**2) ** 0.5 / 5

# %% 5. that fails here
answer = lambda log: log[-1].get("accuracy", 0) >= 0.6

# %% 5. has no 'accuracy'
answer = lambda log: any(line["accuracy"] >= 0.6 for line in log)

# %% 5. 0.6 itself
answer = lambda log: any(line.get("accuracy", 0) > 0.6 for line in log)

# %% 5. not begun
answer = lambda log: all(line.get("accuracy", 1) >= 0.6 for line in log)

# %% 5. if 0.3 was before it
answer = lambda log: bool(log) and all(line.get("accuracy", 0) >= 0.6 for line in log)

# %% 5. where nothing reached 0.6
answer = lambda log: any("accuracy" in line for line in log)

# %% 6. each row counts the same
answer = lambda logits, labels: nn.functional.cross_entropy(logits, labels)

# %% 6. three classes, not four
answer = lambda logits, labels: sum(
    nn.functional.cross_entropy(logits[labels == c], labels[labels == c])
    for c in range(logits.shape[1])
    if (labels == c).any()
) / logits.shape[1]

# %% 6. leave it out
answer = lambda logits, labels: torch.stack([
    nn.functional.cross_entropy(logits[labels == c], labels[labels == c])
    for c in range(logits.shape[1])
]).mean()  # fmt: skip

# %% 6. a frequent class counts more
answer = lambda logits, labels: nn.functional.cross_entropy(
    logits, labels, labels.bincount(minlength=logits.shape[1]).float()
)

# %% 6. it gets probabilities
answer = lambda logits, labels: torch.stack([
    nn.functional.cross_entropy(logits[labels == c].softmax(-1), labels[labels == c])
    for c in labels.unique()
]).mean()  # fmt: skip

# %% 6. the means of the classes are added
answer = lambda logits, labels: sum(
    nn.functional.cross_entropy(logits[labels == c], labels[labels == c])
    for c in labels.unique()
)

# %% 6. a sum over rows
answer = lambda logits, labels: nn.functional.cross_entropy(logits, labels, reduction="sum")
