# %% 1. the sum of the values
answer = [1.5, 8.9, 14]

# %% 1. less than each value
answer = [0.5, 1.5, 8.9]

# %% 1. 8.9 too
answer = [1.5]

# %% 1. 1.5 too
answer = (8.9,)

# %% 1. none of the four
answer = [1, 9]

# %% 2. each place reads the very character
answer = lambda target: (target, target)

# %% 2. swap them
answer = lambda target: (target[:, 1:], target[:, :-1])

# %% 2. a date is lost
answer = lambda target: (target[:-1], target[1:])

# %% 2. 11 are read and 10 wanted
answer = lambda target: (target, target[:, 1:])

# %% 2. give two things
answer = lambda target: target[:, :-1]

# %% 3. lacks the biases
answer = lambda H, W: 4 * H * H + 2 * H * W + 4 * H

# %% 3. lacks the biases and the norms
answer = lambda H, W: 4 * H * H + 2 * H * W

# %% 3. lacks both norms
answer = lambda H, W: 4 * H * H + 4 * H + 2 * H * W + W + H

# %% 3. lacks a norm's 2H
answer = lambda H, W: 4 * H * H + 4 * H + 2 * H * W + W + H + 2 * H

# %% 3. the attention's output layer
answer = lambda H, W: 3 * H * H + 3 * H + 2 * H * W + W + H + 4 * H

# %% 3. way down
answer = lambda H, W: 4 * H * H + 4 * H + H * W + W + 4 * H

# %% 4. that is post-norm
def answer(layer, x):
    x = layer.norm1(x + layer.attention(x))
    return layer.norm2(x + layer.mlp(x))


# %% 4. nothing is added
answer = lambda layer, x: layer.mlp(layer.norm2(layer.attention(layer.norm1(x))))

# %% 4. not to the normed x
def answer(layer, x):
    x = layer.norm1(x)
    x = x + layer.attention(x)
    x = layer.norm2(x)
    return x + layer.mlp(x)


# %% 4. not what attention left
answer = lambda layer, x: x + layer.attention(layer.norm1(x)) + layer.mlp(layer.norm2(x))

# %% 4. norm what goes in
def answer(layer, x):
    x = x + layer.norm1(layer.attention(x))
    return x + layer.norm2(layer.mlp(x))


# %% 4. stands there twice
def answer(layer, x):
    x = x + layer.attention(layer.norm1(x))
    return x + layer.mlp(layer.norm1(x))


# %% 5. it has never heard
answer = "the fifth of brumaire eighteen hundred"

# %% 5. the date you said
answer = "the fifth of march nineteen eighty four"

# %% 5. say something
answer = ""

# %% 5. tokens, but max_length is 16
answer = "the fifth of march nineteen eighty four " * 3

# %% 6. upside down
answer = lambda size, prefix: ~(causal_mask(size) | (torch.arange(size) < prefix))

# %% 6. causal in the prefix
answer = lambda size, prefix: causal_mask(size)

# %% 6. the prefix sees what is written
answer = lambda size, prefix: causal_mask(size) | (torch.arange(size) < prefix)[:, None]

# %% 6. yours is transposed
answer = lambda size, prefix: (causal_mask(size) | (torch.arange(size) < prefix)).T

# %% 6. does not see what was written before
answer = lambda size, prefix: (torch.arange(size) < prefix).expand(size, size)

# %% 6. does not see the prefix
def answer(size, prefix):
    first = torch.arange(size) < prefix
    return (first == first[:, None]) & (first | causal_mask(size))


# %% 6. one place too many
answer = lambda size, prefix: causal_mask(size) | (torch.arange(size) <= prefix)

# %% 6. a mask is (size, size) and bool
answer = lambda size, prefix: (causal_mask(size) | (torch.arange(size) < prefix)).int()
