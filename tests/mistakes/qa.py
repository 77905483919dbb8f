# %% 1. runs backwards
answer_1 = (1, 0)

# %% 1. counted from 0
answer_1 = (2, 3)

# %% 1. from 1 to 1 makes 4; another makes 6
answer_1 = (1, 1)

# %% 1. 6 is its score
answer_1 = 4 + 2

# %% 2. scores are added
answer_2 = 0.5 + 0.4

# %% 2. the loss is a mean
answer_2 = (0.5 + 0.4) / 2

# %% 2. the start may miss too
answer_2 = min(0.5, 0.4)

# %% 3. where [CLS] is lowest decides
answer_3 = (12 - 9, True)

# %% 3. upside down
answer_3 = (9 - 4, True)

# %% 3. the best span of all windows counts
answer_3 = (4 - 6, False)

# %% 3. not above the threshold
answer_3 = (4 - 9, True)

# %% 4. as if windows did not overlap
answer_4 = lambda n, room, stride: math.ceil(n / room)

# %% 4. the last window need not be full
answer_4 = lambda n, room, stride: 1 + max(0, n - room) // stride

# %% 4. the first window is not counted
answer_4 = lambda n, room, stride: max(0, math.ceil((n - room) / stride))

# %% 4. a short text takes a window too
answer_4 = lambda n, room, stride: 1 + math.ceil((n - room) / stride)

# %% 4. after all is read
answer_4 = lambda n, room, stride: math.ceil(n / stride)

# %% 5. upside down
answer_5 = lambda batch: (batch.token_type_ids == 0) | (batch.input_ids == tokenizer.sep_id)

# %% 5. may begin at [SEP]
answer_5 = lambda batch: batch.token_type_ids == 1

# %% 5. may begin at [CLS]
answer_5 = lambda batch: batch.attention_mask

# %% 5. may begin at padding
answer_5 = lambda batch: (batch.token_type_ids == 1) | (batch.attention_mask == 0)

# %% 5. may begin at the question
answer_5 = lambda batch: ~torch.isin(batch.input_ids, torch.tensor([0, 101, 102]))

# %% 6. this one token alone
answer_6 = lambda start, end: np.exp(start + end) / np.exp(start).sum() / np.exp(end).sum()

# %% 6. do not sum to 1
answer_6 = lambda start, end: [
    np.triu(np.exp(start[:, None] + end))[: t + 1, t:].sum() for t in range(len(start))]

# %% 6. pairs that run backwards count
def answer_6(start, end):
    spans = np.exp(start[:, None] + end)
    spans /= spans.sum()
    return [np.triu(spans)[: t + 1, t:].sum() for t in range(len(start))]

# %% 6. the last token of a span is in it too
def answer_6(start, end):
    spans = np.triu(np.exp(start[:, None] + end))
    spans /= spans.sum()
    return [spans[: t + 1, t + 1 :].sum() for t in range(len(start))]

# %% 6. exp makes 1 of a 0
def answer_6(start, end):
    spans = np.exp(np.triu(start[:, None] + end))
    spans /= spans.sum()
    return [spans[: t + 1, t:].sum() for t in range(len(start))]

# %% 6. these are the spans that run backwards
def answer_6(start, end):
    spans = np.tril(np.exp(start[:, None] + end))
    spans /= spans.sum()
    return [spans[: t + 1, t:].sum() for t in range(len(start))]
