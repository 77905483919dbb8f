# %% 1. you counted numbers
answer = 10_000_000 * 384 / 2**20

# %% 1. 8 bytes are a float64
answer = 10_000_000 * 384 * 8 / 2**20

# %% 1. those are MB
answer = 10_000_000 * 384 * 4 / 10**6

# %% 1. 32 bits are 4 bytes
answer = 10_000_000 * 384 * 32 / 2**20

# %% 2. drops articles
answer = 1.0

# %% 2. stand twice each
answer = 3 / 4

# %% 2. of neighbours
answer = 1 / 4

# %% 2. more than 1
answer = 60

# %% 3. so the share of its own is below 1
answer = 0

# %% 3. the loss is -log of it
answer = np.e / (np.e + 31 / np.e)

# %% 3. a row that knows nothing
answer = np.log(32)

# %% 3. there are 31
answer = np.log(1 + np.exp(-2))

# %% 3. a share of 0.14
answer = 2

# %% 4. padding takes part
answer = lambda states, mask: states.amax(1)

# %% 4. padding counts as 0
answer = lambda states, mask: (states * mask[:, :, None]).amax(1)

# %% 4. the shape is (2, 4)
answer = lambda states, mask: states.masked_fill(mask[:, :, None] == 0, -torch.inf).amax(2)

# %% 4. that is the mean
answer = mean_pool

# %% 5. each b looked for its a
def answer(a, b):
    best, _ = nearest(to_unit(b), to_unit(a), 5)
    return (best == np.arange(len(a))[:, None]).any(1).mean()

# %% 5. long vectors win a product
def answer(a, b):
    best, _ = nearest(a, b, 5)
    return (best == np.arange(len(a))[:, None]).any(1).mean()

# %% 5. the five that are furthest
def answer(a, b):
    best = np.argsort(to_unit(a) @ to_unit(b).T, axis=1)[:, :5]
    return (best == np.arange(len(a))[:, None]).any(1).mean()

# %% 5. do not divide by five
def answer(a, b):
    best, _ = nearest(to_unit(a), to_unit(b), 5)
    return (best == np.arange(len(a))[:, None]).mean()

# %% 5. the nearest alone
def answer(a, b):
    best, _ = nearest(to_unit(a), to_unit(b), 5)
    return (best[:, 0] == np.arange(len(a))).mean()

# %% 6. nothing was subtracted
def answer(vectors, count):
    return np.argsort(-vectors @ vectors.mean(0))[:count]

# %% 6. a row was chosen twice
def answer(vectors, count):
    near = vectors @ to_unit(vectors.mean(0))
    chosen = [near.argmax()]
    while len(chosen) < count:
        chosen.append((2 * near - (vectors @ vectors[chosen].T).max(1)).argmax())
    return chosen

# %% 6. count alike: take the highest
def answer(vectors, count):
    near = vectors @ to_unit(vectors.mean(0))
    chosen = [int(near.argmax())]
    while len(chosen) < count:
        gain = near - (vectors @ vectors[chosen].T).mean(1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen

# %% 6. the last one chosen only
def answer(vectors, count):
    near = vectors @ to_unit(vectors.mean(0))
    chosen = [int(near.argmax())]
    while len(chosen) < count:
        gain = near - vectors @ vectors[chosen[-1]]
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return chosen

# %% 6. in the order chosen
def answer(vectors, count):
    near = vectors @ to_unit(vectors.mean(0))
    chosen = [int(near.argmax())]
    while len(chosen) < count:
        gain = near - (vectors @ vectors[chosen].T).max(1)
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
    return sorted(chosen)
