# %% 1. names the first axis
answer = (3,)

# %% 1. an axis that is summed disappears
answer = (1, 5)

# %% 1. over both axes
answer = ()

# %% 1. nothing is gone
answer = [3, 5]

# %% 1. a shape is a tuple
answer = 5

# %% 2. that is the matrix
answer = 10 * 3

# %% 2. to what comes out
answer = 10 * 3 + 10

# %% 2. a weight for each of the 10
answer = 10 + 3

# %% 2. those are the tensors
answer = 2

# %% 3. a mean of 9
answer = lambda guess, truth: (guess - truth).square().mean()

# %% 3. 9 squares were added
answer = lambda guess, truth: (guess - truth).square().sum()

# %% 3. the sum of the squares
answer = lambda guess, truth: (guess[:, 0] - truth).square().sum()

# %% 3. not their mean
answer = lambda guess, truth: (guess[:, 0] - truth).mean() ** 2

# %% 3. no square in it
answer = lambda guess, truth: (guess.squeeze() - truth).abs().mean()

# %% 3. a root too many
answer = lambda guess, truth: (guess.squeeze() - truth).square().mean() ** 0.5

# %% 3. 3 numbers come out
answer = lambda guess, truth: (guess.squeeze() - truth) ** 2

# %% 4. that is one call
answer = 6

# %% 4. not multiplied
answer = 36

# %% 4. that is w * w
answer = 9.0

# %% 4. sets it back to 0
answer = 0

# %% 5. gradients add up
def answer(model, x, y, optimiser):
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimiser.step()
    return loss.item()


# %% 5. call backward just before it
def answer(model, x, y, optimiser):
    loss = (model(x) - y).square().mean()
    loss.backward()
    optimiser.zero_grad()
    optimiser.step()
    return loss.item()


# %% 5. the weight does not move
def answer(model, x, y, optimiser):
    loss = (model(x) - y).square().mean()
    optimiser.zero_grad()
    loss.backward()
    return loss.item()


# %% 5. the loss after the step
def answer(model, x, y, optimiser):
    optimiser.zero_grad()
    (model(x) - y).square().mean().backward()
    optimiser.step()
    return (model(x) - y).square().mean()


# %% 5. give the loss back
def answer(model, x, y, optimiser):
    loss = (model(x) - y).square().mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


# %% 6. a plain list hides the layers
class Deep(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.up, self.down = nn.Linear(1, 16), nn.Linear(16, 1)
        self.inner = [nn.Linear(16, 16) for _ in range(depth)]

    def forward(self, x):
        x = torch.tanh(self.up(x))
        for layer in self.inner:
            x = torch.tanh(layer(x))
        return self.down(x)


answer = Deep

# %% 6. three times the same
class Deep(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.up, self.down = nn.Linear(1, 16), nn.Linear(16, 1)
        self.inner = nn.ModuleList([nn.Linear(16, 16)] * depth)

    def forward(self, x):
        x = torch.tanh(self.up(x))
        for layer in self.inner:
            x = torch.tanh(layer(x))
        return self.down(x)


answer = Deep

# %% 6. one straight layer
class Deep(nn.Module):
    def __init__(self, depth):
        super().__init__()
        self.up, self.down = nn.Linear(1, 16), nn.Linear(16, 1)
        self.inner = nn.Sequential(*(nn.Linear(16, 16) for _ in range(depth)))

    def forward(self, x):
        return self.down(self.inner(torch.tanh(self.up(x))))


answer = Deep

# %% 6. forward leaves them out
class Deep(Curve):
    def __init__(self, depth):
        super().__init__()
        self.inner = nn.ModuleList(nn.Linear(16, 16) for _ in range(depth))


answer = Deep
