# %% 1. the forward pass alone
answer = 10e9 * 2 * 100e6 / (0.4 * 312e12) / 3600

# %% 1. at the full peak
answer = 10e9 * 6 * 100e6 / 312e12 / 3600

# %% 1. so divide
answer = 10e9 * 6 * 100e6 * 0.4 / 312e12 / 3600

# %% 1. those are seconds
answer = 10e9 * 6 * 100e6 / (0.4 * 312e12)

# %% 1. an addition are two
answer = 10e9 * 3 * 100e6 / (0.4 * 312e12) / 3600

# %% 1. tokens a second
answer = 24

# %% 2. that is for one card
answer = 4096 / 128

# %% 2. do not double it
answer = 4096 / 128 * 2

# %% 2. that is for eight cards
answer = 4

# %% 2. those are a card's rows in a step
answer = 2048

# %% 3. that is a whole copy
answer = 16 * 1.5e9 / 2**30

# %% 3. the weights alone, shared
answer = 4 * 1.5e9 / 8 / 2**30

# %% 3. Adam keeps two means
answer = 8 * 1.5e9 / 8 / 2**30

# %% 3. three of four
answer = 12 * 1.5e9 / 8 / 2**30

# %% 3. every tensor is shared
answer = (4 * 1.5e9 + 12 * 1.5e9 / 8) / 2**30

# %% 3. those are GB
answer = 16 * 1.5 / 8

# %% 4. the warm-up alone
answer = lambda step: 0.0005 * min(1, step / 2200)

# %% 4. there is no warm-up
answer = lambda step: 0.0005 * (1 - step / 36_000)

# %% 4. begins at its highest
answer = lambda step: 0.0005 * min(1, (36_000 - step) / 33_800)

# %% 4. jumps down at 2,200
answer = lambda step: 0.0005 * (step / 2200 if step < 2200 else 1 - step / 36_000)

# %% 4. subtract 2,200 from the step
answer = lambda step: 0.0005 * (step / 2200 if step < 2200 else 1 - step / 33_800)

# %% 4. that is a cosine
answer = lambda step: (
    0.0005 * step / 2200 if step < 2200
    else 0.0005 * (1 + math.cos(math.pi * (step - 2200) / 33_800)) / 2
)  # fmt: skip

# %% 4. at step 35,999 it is
answer = lambda step: 0.0005 * max(step / 2200 if step < 2200 else 1 - (step - 2200) / 33_800, 0.1)

# %% 5. an error, which comes again
def answer(start):
    for _ in range(10):
        code = start()
        if code == 0:
            break
    return code

# %% 5. no end
def answer(start):
    while (code := start()) == 75:
        pass
    return code

# %% 5. you stop there
answer = lambda start: start()

# %% 5. 0 says that it is done
def answer(start):
    for _ in range(10):
        code = start()
        if code != 0:
            break
    return code

# %% 5. 11 starts
def answer(start):
    code = start()
    for _ in range(10):
        if code == 75:
            code = start()
    return code

# %% 5. and you give None
def answer(start):
    for _ in range(10):
        if start() != 75:
            break

# %% 6. you take other rows
answer = lambda step, rank, world: torch.randperm(64)[:16].tolist()[rank::world]

# %% 6. rows never
def answer(step, rank, world):
    chance = torch.Generator().manual_seed(step)
    return torch.randperm(64, generator=chance)[:16].tolist()[rank::world]

# %% 6. two epochs have the same order
def answer(step, rank, world):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0)).tolist()
    return order[16 * (step % 4) :][:16][rank::world]

# %% 6. is taken 2 times
def answer(step, rank, world):
    order = torch.randperm(64, generator=torch.Generator().manual_seed(step // 4)).tolist()
    return order[16 * (step % 4) :][: 16 // world]

# %% 6. in the order of the file
def answer(step, rank, world):
    return [*range(16 * (step % 4), 16 * (step % 4) + 16)][rank::world]

# %% 6. of the 16 rows that one process takes
def answer(step, rank, world):
    chance = torch.Generator().manual_seed(1000 * world + step // 4)
    order = torch.randperm(64, generator=chance).tolist()
    return order[16 * (step % 4) :][:16][rank::world]
