# %% 1. every token has a row of weights
answer = 6 * 12 * 20

# %% 1. each layer has heads
answer = 6 * 20 * 20

# %% 1. look and are looked at too
answer = 6 * 12 * 18 * 18

# %% 1. whatever the width
answer = 6 * 20 * 20 * 384

# %% 2. that is their sum
answer = 1

# %% 2. another lacks
answer = 0.5

# %% 2. have shares too
answer = 1 / 18

# %% 2. not the whole map
answer = 1 / 20 / 20

# %% 3. so it is in the active
answer = 1.0

# %% 3. a coin gets that
answer = 0.5

# %% 3. why would it be right in 75%
answer = 0.75

# %% 4. left and right cancel
def answer(attention):
    place = np.arange(len(attention.pieces))
    return (attention.weights * (place[:, None] - place)).sum(-1).mean(-1)

# %% 4. only the largest weight of each row
def answer(attention):
    place = np.arange(len(attention.pieces))
    return abs(attention.weights.argmax(-1) - place).mean(-1)

# %% 4. their weights are shares
def answer(attention):
    place = np.arange(len(attention.pieces))
    return (attention.weights * abs(place[:, None] - place)).mean((-1, -2))

# %% 4. the shape is (6, 12, 12)
def answer(attention):
    place = np.arange(len(attention.pieces))
    return (attention.weights * abs(place[:, None] - place)).sum(-1)

# %% 4. the queries are summed
def answer(attention):
    place = np.arange(len(attention.pieces))
    return (attention.weights * abs(place[:, None] - place)).sum((-1, -2))

# %% 5. nothing was subtracted
def answer(a, b):
    gram_a, gram_b = a @ a.T, b @ b.T
    return (gram_a * gram_b).sum() / np.linalg.norm(gram_a) / np.linalg.norm(gram_b)

# %% 5. each article's own mean
def answer(a, b):
    a, b = (x - x.mean(1, keepdims=True) for x in (a, b))
    gram_a, gram_b = a @ a.T, b @ b.T
    return (gram_a * gram_b).sum() / np.linalg.norm(gram_a) / np.linalg.norm(gram_b)

# %% 5. the mean of all numbers
def answer(a, b):
    gram_a, gram_b = ((x - x.mean()) @ (x - x.mean()).T for x in (a, b))
    return (gram_a * gram_b).sum() / np.linalg.norm(gram_a) / np.linalg.norm(gram_b)

# %% 5. divide by the lengths of both
def answer(a, b):
    gram_a, gram_b = ((x - x.mean(0)) @ (x - x.mean(0)).T for x in (a, b))
    return (gram_a * gram_b).sum()

# %% 5. these are cosines of articles
def answer(a, b):
    a, b = (to_unit(x - x.mean(0)) for x in (a, b))
    gram_a, gram_b = a @ a.T, b @ b.T
    return (gram_a * gram_b).sum() / np.linalg.norm(gram_a) / np.linalg.norm(gram_b)

# %% 6. those are cosines
answer = cosines = 1 - layer_turns()

# %% 6. sums over thirty
answer = [30 * (1 - cosine) for cosine in cosines]

# %% 6. upside down
answer = [1 - cosine for cosine in cosines[::-1]]

# %% 6. one head is off, of twelve
answer = [turned((layer, 0)) for layer in range(6)]

# %% 6. all other layers are off
alone = embed(thirty, model=without(everything[12:]))  # layer 0 by itself
answer = [1 - (alone * with_all).sum(1).mean()] * 6
