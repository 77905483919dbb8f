# %% 1. masked words alone
answer = math.log(30_522)

# %% 1. added, not averaged
answer = (math.log(30_522) + math.log(2)) / 2

# %% 1. in bits
answer = math.log2(30_522) + math.log2(2)

# %% 1. that is the perplexity
answer = 30_522

# %% 1. base 10
answer = math.log10(30_522) + math.log10(2)

# %% 2. every token
answer = 64 * 128 * 4096

# %% 2. each gets V scores
answer = 64 * 128 * 0.15

# %% 2. the others are asked too
answer = 64 * 128 * 0.15 * 0.8 * 4096

# %% 2. the tokens that are not chosen
answer = 64 * 128 * 0.85 * 4096

# %% 2. that is one row
answer = 128 * 0.15 * 4096

# %% 3. meets 1 of 12 rows
answer = set(range(1, 13))

# %% 3. 3 and 12 share a factor
answer = {b for b in range(2, 13) if all(b % d for d in range(2, b))}

# %% 3. 9 and 12 share a factor
answer = {b for b in range(1, 13) if b % 2}

# %% 3. it meets all 12 rows
answer = {5, 7, 11}

# %% 3. the ones that miss rows
answer = {b for b in range(1, 13) if math.gcd(b, 12) > 1}

# %% 4. the logarithm -inf
answer = lambda counts: -(counts / counts.sum() * (counts / counts.sum()).log()).sum()

# %% 4. in bits
answer = lambda counts: -sum(c / counts.sum() * (c / counts.sum()).log2() for c in counts if c)

# %% 4. each piece counts the same here
answer = lambda counts: -(counts[counts > 0] / counts.sum()).log().mean()

# %% 4. the sign
answer = lambda counts: sum(c / counts.sum() * (c / counts.sum()).log() for c in counts if c)

# %% 4. knows no counts
answer = lambda counts: math.log(len(counts))

# %% 4. a sum over the text
answer = lambda counts: -sum(c * (c / counts.sum()).log() for c in counts if c)

# %% 5. those are seconds
large = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
answer = lambda steps, rows, length, gpus: work(large, steps, rows, length) / (rate * gpus)

# %% 5. BERT-base, not BERT-large
answer = (
    lambda steps, rows, length, gpus: work(base_size, steps, rows, length)
    / (rate * gpus)
    / 86400
)

# %% 5. longer here than one
large = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
answer = (
    lambda steps, rows, length, gpus: work(large, steps, rows, length) / rate * gpus / 86400
)

# %% 5. reaches its data sheet
large = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
answer = (
    lambda steps, rows, length, gpus: work(large, steps, rows, length) / (312e12 * gpus) / 86400
)

# %% 5. that is forward alone
large = BertConfig(
    hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096
)
answer = (
    lambda steps, rows, length, gpus: work(large, steps, rows, length)
    / 3
    / (rate * gpus)
    / 86400
)

# %% 6. the old text is asked for its steps 3, 7
answer = lambda new, old: (
    lambda step, rank, world: (old if step % 4 == 3 else new)(step, rank, world)
)

# %% 6. the new text is asked for its steps 0, 1, 2, 4
answer = lambda new, old: (
    lambda step, rank, world: (
        old(step // 4, rank, world) if step % 4 == 3 else new(step, rank, world)
    )
)

# %% 6. would not go on as it was
def answer(new, old):
    of_new, of_old = iter(range(99)), iter(range(99))
    return lambda step, rank, world: (
        old(next(of_old), rank, world) if step % 4 == 3 else new(next(of_new), rank, world)
    )


# %% 6. three of four steps
answer = lambda new, old: (
    lambda step, rank, world: (
        new(step // 4, rank, world) if step % 4 == 3 else old(step - step // 4, rank, world)
    )
)

# %% 6. pass rank and world on
answer = lambda new, old: (
    lambda step, rank, world: old(step // 4) if step % 4 == 3 else new(step - step // 4)
)

# %% 6. of steps 0 to 3 the last is old
answer = lambda new, old: (
    lambda step, rank, world: (
        old(step // 4, rank, world) if step % 4 == 0 else new(step - step // 4 - 1, rank, world)
    )
)
