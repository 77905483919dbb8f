# %% 1. the padding still gets a share
answer = 1 / 5

# %% 1. none of them wins
answer = 1.0

# %% 1. that is a score
answer = 2

# %% 1. 0.5 four times is 2.0
answer = 0.5

# %% 2. upside down
text = torch.tensor([0, 0, 0, 1, 1])
answer = text[:, None] != text[None, :]

# %% 2. the dtype is torch.int64
text = torch.tensor([0, 0, 0, 1, 1])
answer = (text[:, None] == text[None, :]).long()

# %% 2. this mask is causal as well
text = torch.tensor([0, 0, 0, 1, 1])
answer = (text[:, None] == text[None, :]).tril()

# %% 2. the shape is (5,)
answer = torch.tensor([0, 0, 0, 1, 1]).bool()

# %% 2. word 0 sees word 3
answer = torch.ones(5, 5).bool()

# %% 3. its root is asked for
answer = 64

# %% 3. after dividing
answer = 1.0

# %% 3. spreads more than one term
answer = 0.125

# %% 4. subtract the largest first
answer = lambda scores: scores.exp() / scores.exp().sum()

# %% 4. sum to
answer = lambda scores: (scores - scores.max()).exp()

# %% 4. not [0.09
answer = lambda scores: (scores.max() - scores).exp() / (scores.max() - scores).exp().sum()

# %% 4. [1000.0, 999.0] gives [0.5, 0.5]
answer = lambda scores: scores.clamp(max=80).exp() / scores.clamp(max=80).exp().sum()

# %% 5. one permute is missing
answer = lambda x, num_heads: x.reshape(x.shape[0], num_heads, x.shape[1], -1)

# %% 5. every third number
answer = lambda x, num_heads: x.reshape(*x.shape[:2], -1, num_heads).permute(0, 3, 1, 2)

# %% 5. the shape is (2, 5, 3, 4)
answer = lambda x, num_heads: x.reshape(*x.shape[:2], num_heads, -1)

# %% 6. every word gets the same
answer = torch.zeros(4, 3), torch.zeros(4, 3)

# %% 6. features, then columns
answer = W_query, W_key

# %% 6. dog answers as well as man
answer = (torch.cat([W_query, torch.zeros(4, 1)], 1), torch.cat([W_key, torch.zeros(4, 1)], 1))

# %% 6. not by enough
weak = torch.zeros(4, 3), torch.zeros(4, 3)
weak[0][2, 2] = weak[1][3, 2] = 1.0
answer = weak
