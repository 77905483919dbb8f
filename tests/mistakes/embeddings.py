# %% 1. the token table alone
answer = 30_522 * 768

# %% 1. the segment table is missing
answer = (30_522 + 512) * 768

# %% 1. those are the rows
answer = 30_522 + 2 + 512

# %% 1. the norm is no table
answer = (30_522 + 2 + 512) * 768 + 2 * 768

# %% 2. do they share a place
answer = 6

# %% 2. [CLS] and [SEP] have a place
answer = 5

# %% 2. a row that is not drawn
answer = 512

# %% 2. that is the segment table
answer = 1

# %% 3. the LayerNorm is missing
def answer(layer, ids, types):
    places = torch.arange(ids.shape[1])
    return layer.token(ids) + layer.segment(types) + layer.position(places)


# %% 3. not each of the three
def answer(layer, ids, types):
    places = layer.position(torch.arange(ids.shape[1]))
    return layer.norm(layer.token(ids)) + layer.norm(layer.segment(types)) + layer.norm(places)


# %% 3. a bag of tokens
answer = lambda layer, ids, types: layer.norm(layer.token(ids) + layer.segment(types))

# %% 3. all get segment 0
def answer(layer, ids, types):
    places = layer.position.weight[: ids.shape[1]]
    return layer.norm(layer.token(ids) + layer.segment.weight[0] + places)


# %% 3. asked for ids, not for places
def answer(layer, ids, types):
    return layer.norm(layer.token(ids) + layer.segment(types) + layer.position(ids))


# %% 3. three rows are added
def answer(layer, ids, types):
    places = layer.position(torch.arange(ids.shape[1])).expand(len(ids), -1, -1)
    return torch.cat([layer.token(ids), layer.segment(types), places], dim=-1)


# %% 4. with the table as it was
answer = 0.997

# %% 4. nothing in common
answer = 0

# %% 4. turns no vector round
answer = -1

# %% 4. which vectors does the encoder get
answer = 0.95

# %% 5. the padding is counted
answer = lambda mask: torch.arange(mask.shape[1]).expand_as(mask)

# %% 5. the first real token gets place 1
answer = lambda mask: mask.cumsum(1)

# %% 5. padding gets place -1
answer = lambda mask: mask.cumsum(1) - 1

# %% 5. counts down the batch
answer = lambda mask: (mask.cumsum(0) - 1).clamp(min=0)

# %% 5. places are integers
answer = lambda mask: (mask.float().cumsum(1) - 1).clamp(min=0)

# %% 5. counts from the right
answer = lambda mask: (mask.flip(1).cumsum(1) - 1).flip(1).clamp(min=0)

# %% 6. each row by 0
answer = torch.eye(8)

# %% 6. is it transposed
answer = torch.zeros(8, 8)
for i in range(0, 8, 2):
    angle = torch.tensor(5 / 10000 ** (i / 8))
    sin, cos = angle.sin(), angle.cos()
    answer[i : i + 2, i : i + 2] = torch.tensor([[cos, sin], [-sin, cos]])

# %% 6. the first 2 columns fit
angle = torch.tensor(5.0)
sin, cos = angle.sin(), angle.cos()
answer = torch.block_diag(*[torch.tensor([[cos, -sin], [sin, cos]])] * 4)

# %% 6. not (8, 8)
answer = torch.tensor(5.0)
