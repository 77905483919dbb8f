# %% 1. its columns too
answer = 2

# %% 1. whose tables only double
answer = total(parameters(shape(12, 1536))) / total(parameters(shape(12, 768)))

# %% 1. I stays 4 H
answer = 8

# %% 1. for more heads
answer = 1

# %% 2. each takes 4 bytes
answer = 32 * 512 * 119547

# %% 2. the token table
answer = 119547 * 768 * 4

# %% 2. for one text
answer = 512 * 119547 * 4

# %% 2. the English model's
answer = 32 * 512 * 30522 * 4

# %% 2. bytes were asked for
answer = 7.3

# %% 3. the tables and the pooler take
answer = 10_000_000 // (12 * 256**2 + 13 * 256)

# %% 3. a part of a layer
answer = (10_000_000 - 4612 * 256 - 257 * 256) / (12 * 256**2 + 13 * 256)

# %% 3. attention alone
answer = (10_000_000 - 4612 * 256 - 257 * 256) // (4 * 256**2)

# %% 3. with BERT's 30,522 words
answer = (10_000_000 - 31038 * 256 - 257 * 256) // (12 * 256**2 + 13 * 256)

# %% 3. one more fits
answer = 10

# %% 4. where do weights, gradients and Adam lie
answer = 24 * 2**30 // total(activations(config, 1, 512))

# %% 4. gradients and Adam make it
answer = (24 * 2**30 - 4 * total(parameters(config))) // total(activations(config, 1, 512))

# %% 4. a GiB is 2**30
answer = (24 * 10**9 - 16 * total(parameters(config))) // total(activations(config, 1, 512))

# %% 4. the open path
fixed = 16 * total(parameters(config))
answer = (24 * 2**30 - fixed) // total(activations(config, 1, 512, fused=False))

# %% 4. not for each text
answer = 24 * 2**30 // total(memory(config, 1, 512))

# %% 4. a part of a text
answer = (24 * 2**30 - fixed) / total(activations(config, 1, 512))

# %% 5. the forward pass alone
answer = lambda config, tokens: tokens * total(flops(config, 128))

# %% 5. those are MACs
answer = lambda config, tokens: 3 * tokens * total(flops(config, 128)) / 2

# %% 5. you take 128 for each
answer = lambda config, tokens: 3 * tokens * 128 * total(flops(config, 128))

# %% 5. only looked up
answer = lambda config, tokens: 6 * tokens * total(parameters(config))

# %% 5. the backward pass alone
answer = lambda config, tokens: 2 * tokens * total(flops(config, 128))

# %% 6. layers share one
def albert(config, E, layers=1, bias=1, top=1):
    H = config.hidden_size
    tables = (config.vocab_size + 516) * E
    layer = total(layer_parameters(config))
    return tables + E * H + bias * H + layers * layer + top * linear(H, H)


answer = lambda config, E: albert(config, E, layers=config.num_hidden_layers)

# %% 6. has a bias, too
answer = lambda config, E: albert(config, E, bias=0)

# %% 6. the pooler is missing
answer = lambda config, E: albert(config, E, top=0)

# %% 6. norm is E wide
answer = lambda config, E: albert(config, E) + 2 * (config.hidden_size - E)

# %% 6. the tables are still H wide
answer = lambda config, E: total(parameters(replace(config, num_hidden_layers=1)))
