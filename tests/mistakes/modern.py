# %% 1. the other way round
answer = 5, 1

# %% 1. what do pre-norm's norms read
answer = 1, 1

# %% 1. is still a norm
answer = [5, 5]

# %% 1. adds 0 leaves
answer = torch.zeros(2)

# %% 1. pre-norm's halves give 0
answer = 1, 0

# %% 1. what does a half of zeros add
answer = 1, 10

# %% 2. the norms have a bias, too
answer = 12 * (3 * 768 + 768 + 3072 + 768)

# %% 2. those are the norms' alone
answer = (12 * 2 + 1) * 768

# %% 2. that is one layer
answer = 3 * 768 + 768 + 3072 + 768 + 2 * 768

# %% 2. the embeddings end with a norm
answer = 12 * (3 * 768 + 768 + 3072 + 768 + 2 * 768)

# %% 2. a layer has two norms
answer = 12 * (3 * 768 + 768 + 3072 + 768 + 768)

# %% 2. makes query, key and value
answer = 12 * (768 + 768 + 3072 + 768 + 2 * 768) + 768

# %% 2. 3,072, not 768
answer = 12 * (3 * 768 + 768 + 768 + 768 + 2 * 768) + 768

# %% 2. keeps its scale
answer = 12 * (3 * 768 + 768 + 3072 + 768 + 4 * 768) + 2 * 768

# %% 2. is the pooler among them
answer = 12 * (3 * 768 + 768 + 3072 + 768 + 2 * 768) + 2 * 768

# %% 2. those are all parameters
answer = 108_891_648

# %% 3. that is one layer's reach
answer = 64

# %% 3. one window is as long as that
answer = 128

# %% 3. how many are on one
answer = 6 * 128

# %% 3. so many tokens have an influence
answer = 769

# %% 3. the token itself is 0 places away
answer = 385

# %% 3. that is five layers
answer = 320

# %% 3. does not double
answer = 2048

# %% 3. something is out of reach
answer = float("inf")

# %% 3. after two layers it is 128
answer = 448

# %% 4. by real tokens
def answer(mask, window):
    first = torch.arange(mask.shape[1]) == 0
    seen = window_mask(mask.shape[1], window) | first | first[:, None]
    return seen.expand(len(mask), 1, -1, -1)


# %% 4. hide its columns, not its rows
def answer(mask, window):
    first = torch.arange(mask.shape[1]) == 0
    seen = window_mask(mask.shape[1], window) | first | first[:, None]
    return seen & mask.bool()[:, None, :, None]


# %% 4. its softmax has no value
def answer(mask, window):
    first = torch.arange(mask.shape[1]) == 0
    real = mask.bool()[:, None]
    seen = window_mask(mask.shape[1], window) | first | first[:, None]
    return seen & real[..., None] & real[:, :, None]


# %% 4. the same window as all others
answer = lambda mask, window: window_mask(mask.shape[1], window) & mask.bool()[:, None, None]

# %% 4. far tokens do not see it
def answer(mask, window):
    seen = window_mask(mask.shape[1], window)
    seen[0] = True
    return seen & mask.bool()[:, None, None]


# %% 4. but it has no more than a window
def answer(mask, window):
    seen = window_mask(mask.shape[1], window)
    seen[:, 0] = True
    return seen & mask.bool()[:, None, None]


# %% 4. sees padding
def answer(mask, window):
    first = torch.arange(mask.shape[1]) == 0
    return window_mask(len(first), window) & padding_mask(mask) | first | first[:, None]


# %% 4. that is 4 places to each side
def answer(mask, window):
    places = torch.arange(mask.shape[1])
    seen = (places[:, None] - places).abs() <= window
    seen[0] = seen[:, 0] = True
    return seen & padding_mask(mask)


# %% 4. that is 1 place to each side
def answer(mask, window):
    places = torch.arange(mask.shape[1])
    seen = (places[:, None] - places).abs() < window // 2
    seen[0] = seen[:, 0] = True
    return seen & padding_mask(mask)


# %% 4. to its left alone
def answer(mask, window):
    far = torch.arange(mask.shape[1])[:, None] - torch.arange(mask.shape[1])
    seen = (far >= 0) & (far <= window // 2)
    seen[0] = seen[:, 0] = True
    return seen & padding_mask(mask)


# %% 4. is abs() missing
def answer(mask, window):
    places = torch.arange(mask.shape[1])
    seen = (places[:, None] - places) <= window // 2
    seen[0] = seen[:, 0] = True
    return seen & padding_mask(mask)


# %% 4. upside down
def answer(mask, window):
    seen = window_mask(mask.shape[1], window)
    seen[0] = seen[:, 0] = True
    hidden = ~(seen & padding_mask(mask))
    return torch.zeros(hidden.shape).masked_fill(hidden, -torch.inf)


# %% 4. token 6 of 9 sees
def answer(mask, window):
    seen = window_mask(mask.shape[1], window) & padding_mask(mask)
    return seen & (torch.arange(mask.shape[1]) != 0) | torch.eye(mask.shape[1]).bool()


# %% 4. the shape is
def answer(mask, window):
    seen = window_mask(mask.shape[1], window)
    seen[0] = seen[:, 0] = True
    return seen & mask.bool()[:, None]


# %% 5. no GatedFeedForward
answer = lambda plain: plain

# %% 5. 10 to be gated take 10 gates more
answer = lambda plain: GatedFeedForward(6, 5)

# %% 5. each number is multiplied by itself
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    gated.up.weight = nn.Parameter(torch.cat([plain.up.weight] * 2))
    gated.up.bias = nn.Parameter(torch.cat([plain.up.bias] * 2))
    gated.down = plain.down
    return gated


# %% 5. the halves are exchanged
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    weight, bias = plain.up.weight, plain.up.bias
    gated.up.weight = nn.Parameter(torch.cat([torch.zeros_like(weight), weight]))
    gated.up.bias = nn.Parameter(torch.cat([torch.ones_like(bias), bias]))
    gated.down = plain.down
    return gated


# %% 5. the gate is shut
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    weight, bias = plain.up.weight, plain.up.bias
    gated.up.weight = nn.Parameter(torch.cat([weight, torch.zeros_like(weight)]))
    gated.up.bias = nn.Parameter(torch.cat([bias, torch.zeros_like(bias)]))
    gated.down = plain.down
    return gated


# %% 5. the gate depends on
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    weight, bias = plain.up.weight, plain.up.bias
    gated.up.weight = nn.Parameter(torch.cat([weight, torch.ones_like(weight)]))
    gated.up.bias = nn.Parameter(torch.cat([bias, torch.zeros_like(bias)]))
    gated.down = plain.down
    return gated


# %% 5. is not 1 everywhere
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    with torch.no_grad():
        gated.up.weight.zero_()
        gated.up.weight[: len(plain.up.weight)] = plain.up.weight
        gated.up.bias[: len(plain.up.bias)] = plain.up.bias
    gated.down = plain.down
    return gated


# %% 5. what it gates is not the plain one's
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    with torch.no_grad():
        gated.up.weight[len(plain.up.weight) :] = 0
        gated.up.bias[len(plain.up.bias) :] = 1
    gated.down = plain.down
    return gated


# %% 5. is open, but `down` is not
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    weight, bias = plain.up.weight, plain.up.bias
    gated.up.weight = nn.Parameter(torch.cat([weight, torch.zeros_like(weight)]))
    gated.up.bias = nn.Parameter(torch.cat([bias, torch.ones_like(bias)]))
    return gated


# %% 5. cannot assign
def answer(plain):
    gated = GatedFeedForward(plain.up.in_features, plain.up.out_features)
    gated.up.weight = torch.cat([plain.up.weight, torch.zeros(10, 6)])
    return gated


# %% 6. those are the page's pairs
answer = rotate

# %% 6. all pairs turn equally fast
def answer(x, positions):
    angle = positions[:, None, :, None].float()
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. a 2 is missing
def answer(x, positions):
    pair = torch.arange(x.shape[-1] // 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. the first pair turns slowest
def answer(x, positions):
    pair = torch.arange(x.shape[-1] - 2, -1, -2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. the pairs turn backwards
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos + right * sin, right * cos - left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. each text has its own places
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = torch.arange(x.shape[-2])[:, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. that counts from 1
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = (positions[:, None, :, None] + 1) / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. but come apart
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.cat(turned, dim=-1)


# %% 6. repeat each, not all
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    angle = torch.cat([angle, angle], dim=-1)
    swapped = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * angle.cos() + swapped * angle.sin()


# %% 6. from the first's new number
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    x[..., ::2] = left * cos - right * sin
    x[..., 1::2] = right * cos + left * sin
    return x


# %% 6. is a sine's sign wrong
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos + right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. at place 1 pair 1 turns by 0.050
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 160_000 ** (pair / x.shape[-1])
    cos, sin = angle.cos(), angle.sin()
    left, right = x[..., ::2], x[..., 1::2]
    turned = left * cos - right * sin, right * cos + left * sin
    return torch.stack(turned, dim=-1).flatten(-2)


# %% 6. the shape is
def answer(x, positions):
    pair = torch.arange(0, x.shape[-1], 2)
    angle = positions[:, None, :, None] / 10_000 ** (pair / x.shape[-1])
    left, right = x[..., ::2], x[..., 1::2]
    return left * angle.cos() - right * angle.sin()


# %% 7. exponent is not 1
answer = lambda base, head_size, factor: base * factor

# %% 7. the root is upside down
answer = lambda base, head_size, factor: base * factor ** ((head_size - 2) / head_size)

# %% 7. has the exponent 2i / D
answer = lambda base, head_size, factor: base * factor ** (head_size / (head_size - 1))

# %% 7. for the second pair
answer = lambda base, head_size, factor: base * factor ** (head_size / 2)

# %% 7. a smaller base turns faster
answer = lambda base, head_size, factor: base / factor

# %% 7. not raised to a power
answer = lambda base, head_size, factor: base**factor

# %% 7. whatever `base` and
answer = lambda base, head_size, factor: 160_000

# %% 7. with a base of
answer = lambda base, head_size, factor: 2 * base * factor

# %% 7. a base is positive
answer = lambda base, head_size, factor: -base * factor
