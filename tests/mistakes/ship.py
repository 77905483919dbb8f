# %% 1. that is the program's answer
answer = 4.5

# %% 1. eight additions are in that
answer = sum(range(1, 9)) / 4

# %% 1. you divide by 8
answer = 10 / 8

# %% 1. not 3.6
answer = 3.6

# %% 2. one product, or for a register without a sign
answer = (2**15 - 1) // 255

# %% 2. int8 ends there
answer = 127

# %% 2. that is safe, but not the most
answer = 63

# %% 2. no whole number
answer = (2**15 - 1) / (2 * 255)

# %% 2. one product and without a sign
answer = (2**16 - 1) // 255

# %% 3. only the last waits for all eight
answer = 160, 55

# %% 3. the second question waits
answer = 20, 55

# %% 3. until one's own turn begins
answer = 70, 55

# %% 3. before the whole batch is done
answer = 90, 55 / 8

# %% 3. the first with the last
answer = 90, 37.5

# %% 3. is in the 20 ms
answer = 90, 60

# %% 3. the other order
answer = 55, 90

# %% 4. one scale for the whole
answer = lambda m: np.round(m / np.abs(m).max() * 127) * np.abs(m).max() / 127

# %% 4. a scale for each row
answer = lambda m: np.round(m.T / np.abs(m.T).max(0) * 127).T * np.abs(m).max(1)[:, None] / 127

# %% 4. do not cut
answer = lambda m: (m / np.abs(m).max(0) * 127).astype(np.int8) * np.abs(m).max(0) / 127

# %% 4. multiply by the scale
answer = lambda m: np.round(m / (np.abs(m).max(0) / 127)).astype(np.int8)

# %% 4. without its sign
answer = lambda m: np.round(m / m.max(0) * 127) * m.max(0) / 127

# %% 4. 127, not 128
answer = lambda m: np.round(m / np.abs(m).max(0) * 128) * np.abs(m).max(0) / 128

# %% 5. from the start of the file
def answer(raw, name):
    entry = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])[name]
    begin, end = entry["data_offsets"]
    return np.frombuffer(raw[begin:end], np.float32).reshape(entry["shape"])

# %% 5. from behind the eight bytes
def answer(raw, name):
    entry = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])[name]
    begin, end = entry["data_offsets"]
    return np.frombuffer(raw[8 + begin : 8 + end], np.float32).reshape(entry["shape"])

# %% 5. you forget the eight bytes
def answer(raw, name):
    size = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8 : 8 + size])[name]
    begin, end = entry["data_offsets"]
    return np.frombuffer(raw[size + begin : size + end], np.float32).reshape(entry["shape"])

# %% 5. their shape is (60,)
def answer(raw, name):
    start = 8 + int.from_bytes(raw[:8], "little")
    begin, end = json.loads(raw[8:start])[name]["data_offsets"]
    return np.frombuffer(raw[start + begin : start + end], np.float32)

# %% 5. that is no JSON
def answer(raw, name):
    start = 8 + int.from_bytes(raw[:8], "big")
    begin, end = json.loads(raw[8:start])[name]["data_offsets"]
    return np.frombuffer(raw[start + begin : start + end], np.float32)

# %% 5. 4 bytes for each
def answer(raw, name):
    start = 8 + int.from_bytes(raw[:8], "little")
    begin, end = json.loads(raw[8:start])[name]["data_offsets"]
    return np.frombuffer(raw[start + begin : start + end])

# %% 6. one scale for all rows
answer = lambda x: (x / (x.abs().max() / 127)).round() * x.abs().max() / 127

# %% 6. a scale for each column
answer = lambda x: (x / (x.abs().amax(0) / 127)).round() * x.abs().amax(0) / 127

# %% 6. the row of zeros gives nan
def answer(x):
    scale = x.abs().amax(1, keepdim=True) / 127
    return (x / scale).round() * scale

# %% 6. no if, item or numpy
def answer(x):
    scale = x.abs().amax(1, keepdim=True) / 127
    if (scale == 0).any():
        scale = scale + (scale == 0)
    return (x / scale).round() * scale

# %% 6. frozen to them
def answer(x):
    rows = []
    for row in x:
        scale = row.abs().max().clamp(min=1e-12) / 127
        rows.append((row / scale).round() * scale)
    return torch.stack(rows)

# %% 6. multiply by the scale
answer = lambda x: (x / (x.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127)).round()
