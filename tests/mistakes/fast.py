# %% 1. the whole step made five times
answer = 100 / 5

# %% 1. takes no time at all
answer = 100 - 60

# %% 1. is left, not saved
answer = 100 - 60 / 5

# %% 1. that is the head alone
answer = 60 / 5

# %% 1. you made the rest five times
answer = 60 + 40 / 5

# %% 1. never the head's
answer = 70

# %% 2. the old step
answer = 30 / 0.50

# %% 2. the new step
answer = 30 / 0.40

# %% 2. how many times as fast
answer = 30 / (0.50 / 0.40)

# %% 2. divide by them
answer = 30 * (0.50 - 0.40)

# %% 2. after 100 steps 10 s are saved
answer = 100

# %% 3. go on into the next text
answer = lambda sizes: [*range(sum(sizes))]

# %% 3. not from 1
answer = lambda sizes: [place + 1 for n in sizes for place in range(n)]

# %% 3. the number of the text
answer = lambda sizes: [text for text, n in enumerate(sizes) for _ in range(n)]

# %% 3. the longest text's places
answer = lambda sizes: [*range(max(sizes))] * len(sizes)

# %% 3. a list for each text
answer = lambda sizes: [[*range(n)] for n in sizes]

# %% 4. the texts are not sorted
def answer(sizes, batch):
    filled = sum(batch * max(sizes[i : i + batch]) for i in range(0, len(sizes), batch))
    return 1 - sum(sizes) / filled

# %% 4. padding by real tokens
def answer(sizes, batch):
    filled = batch * sum(sorted(sizes)[batch - 1 :: batch])
    return (filled - sum(sizes)) / sum(sizes)

# %% 4. the share of real tokens
answer = lambda sizes, batch: sum(sizes) / (batch * sum(sorted(sizes)[batch - 1 :: batch]))

# %% 4. the longest of all
answer = lambda sizes, batch: 1 - sum(sizes) / (len(sizes) * max(sizes))

# %% 4. a mean of the batches' shares
def answer(sizes, batch):
    sizes = sorted(sizes)
    parts = [sizes[i : i + batch] for i in range(0, len(sizes), batch)]
    return sum(1 - sum(p) / (batch * max(p)) for p in parts) / len(parts)

# %% 5. the arithmetic alone
answer = lambda flops, moved, peak, bandwidth: flops / peak

# %% 5. memory alone
answer = lambda flops, moved, peak, bandwidth: moved / bandwidth

# %% 5. the faster of the two
answer = lambda flops, moved, peak, bandwidth: min(flops / peak, moved / bandwidth)

# %% 5. adds the two up
answer = lambda flops, moved, peak, bandwidth: flops / peak + moved / bandwidth

# %% 5. that is a speed
answer = lambda flops, moved, peak, bandwidth: min(peak, flops / moved * bandwidth)

# %% 6. take turns
def answer(f, g, tick):
    def seconds(work):
        start = tick()
        work()
        return tick() - start

    f(), g()
    slow = [seconds(f) for _ in range(20)]
    return median([seconds(g) for _ in range(20)]) / median(slow)

# %% 6. take the median
def answer(f, g, tick):
    def seconds(work):
        start = tick()
        work()
        return tick() - start

    f(), g()
    pairs = [(seconds(f), seconds(g)) for _ in range(20)]
    return sum(b for a, b in pairs) / sum(a for a, b in pairs)

# %% 6. a mean of ratios
def answer(f, g, tick):
    def seconds(work):
        start = tick()
        work()
        return tick() - start

    f(), g()
    pairs = [(seconds(f), seconds(g)) for _ in range(20)]
    return sum(b / a for a, b in pairs) / 20

# %% 6. leave them out
def answer(f, g, tick):
    def seconds(work):
        start = tick()
        work()
        return tick() - start

    pairs = [(seconds(f), seconds(g)) for _ in range(20)]
    return sum(b for a, b in pairs) / sum(a for a, b in pairs)

# %% 6. turn it round
def answer(f, g, tick):
    def seconds(work):
        start = tick()
        work()
        return tick() - start

    f(), g()
    pairs = [(seconds(f), seconds(g)) for _ in range(20)]
    return median(a for a, b in pairs) / median(b for a, b in pairs)

# %% 6. too few to know
def answer(f, g, tick):
    f(), g()
    start = tick()
    f()
    middle = tick()
    g()
    return (tick() - middle) / (middle - start)
