# %% 1. their order stays
answer = 81

# %% 1. logits are divided, not shares
answer = 81 / 4

# %% 1. logits are multiplied
answer = 81**4

# %% 1. a temperature of 2
answer = 9

# %% 1. belongs to the loss
answer = 81 / 16

# %% 1. all are equal at an endless temperature
answer = 1.0

# %% 1. how much their logits differ now
answer = torch.tensor(81.0).log() / 4

# %% 1. how much their logits differed
answer = 4.39

# %% 1. upside down
answer = 1 / 3

# %% 1. not 27 times
answer = 27

# %% 2. those were not asked about
answer = 0.85

# %% 2. the other 60 % are replaced
answer = 1 - 0.15 * 0.4

# %% 2. what the finder misses
answer = 0.15 * 0.6

# %% 2. among the 15 alone
answer = 0.4

# %% 2. how many of the 15
answer = 60

# %% 2. so many guesses are right
answer = 0.06

# %% 2. the share that was asked about
answer = 0.15

# %% 2. it throws no coin
answer = 0.5

# %% 2. what of all the others
answer = 0

# %% 2. it is wrong wherever
answer = 1

# %% 2. not 55.0%
answer = 0.55

# %% 3. the 50 is missing
answer = 9

# %% 3. the forger has a loss, too
answer = 35

# %% 3. the finder has one, too
answer = 8

# %% 3. the 50 stands at the forger's
answer = 417

# %% 3. 50 times both
answer = 451

# %% 3. between two answers
answer = 51 * torch.tensor(4096.0).log()

# %% 3. that is in bits
answer = 62

# %% 3. the finder's part is in bits
answer = 58

# %% 3. not a sum: no 15 %
answer = 0.15 * 50 * 0.693 + 8.318

# %% 3. and says 1/2
answer = 29

# %% 3. two new models begin at 43
answer = 100

# %% 4. no BertForMaskedLM
answer = lambda teacher, numbers: teacher.bert.encoder.layers[: len(numbers)]

# %% 4. and you leave it 3
def answer(teacher, numbers):
    kept = [teacher.bert.encoder.layers[i] for i in numbers]
    teacher.bert.encoder.layers = nn.ModuleList(kept)
    return teacher


# %% 4. the teacher's weights have changed
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    for layer, number in zip(student.bert.encoder.layers, numbers, strict=True):
        teacher.bert.encoder.layers[number].load_state_dict(layer.state_dict())
    return student


# %% 4. are the teacher's own
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    student.bert.embeddings = teacher.bert.embeddings
    student.predictions = teacher.predictions
    for place, number in enumerate(numbers):
        student.bert.encoder.layers[place] = teacher.bert.encoder.layers[number]
    return student


# %% 4. the teacher's [0, 2, 4], asked for were [0, 2, 5]
answer = lambda teacher, numbers: every_nth_layer(teacher, len(numbers))

# %% 4. the teacher's [0, 1, 2]
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    student.load_state_dict(teacher.state_dict(), strict=False)
    return student


# %% 4. the teacher's [5, 1, 4]
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    for layer, number in zip(student.bert.encoder.layers, numbers, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layers[number - 1].state_dict())
    return student


# %% 4. the teacher's [1, 4], asked for were [4, 1]
def answer(teacher, numbers):
    student = every_nth_layer(teacher, teacher.config.num_hidden_layers)
    kept = [x for i, x in enumerate(student.bert.encoder.layers) if i in numbers]
    student.bert.encoder.layers = nn.ModuleList(kept)
    student.config = replace(teacher.config, num_hidden_layers=len(numbers))
    return student


# %% 4. the teacher's ['none', 'none', 'none']
def answer(teacher, numbers):
    return BertForMaskedLM(replace(teacher.config, num_hidden_layers=len(numbers)))


# %% 4. it could not be loaded again
def answer(teacher, numbers):
    student = every_nth_layer(teacher, teacher.config.num_hidden_layers)
    kept = [student.bert.encoder.layers[i] for i in numbers]
    student.bert.encoder.layers = nn.ModuleList(kept)
    return student


# %% 4. its embeddings are not
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    for layer, number in zip(student.bert.encoder.layers, numbers, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layers[number].state_dict())
    return student


# %% 4. its predictions are not
def answer(teacher, numbers):
    config = replace(teacher.config, num_hidden_layers=len(numbers))
    student = BertForMaskedLM(config)
    student.bert.embeddings.load_state_dict(teacher.bert.embeddings.state_dict())
    for layer, number in zip(student.bert.encoder.layers, numbers, strict=True):
        layer.load_state_dict(teacher.bert.encoder.layers[number].state_dict())
    return student


# %% 4. of its weights are frozen
def answer(teacher, numbers):
    import copy

    student = copy.deepcopy(teacher)
    kept = [student.bert.encoder.layers[i] for i in numbers]
    student.bert.encoder.layers = nn.ModuleList(kept)
    student.config = replace(teacher.config, num_hidden_layers=len(numbers))
    return student


# %% 5. the author's word comes at
answer = replace_tokens

# %% 5. the likeliest of the others is all that comes
def answer(masked, labels, logits):
    chosen = labels != IGNORE
    ids = masked.clone()
    ids[chosen] = logits.scatter(1, labels[chosen][:, None], -torch.inf).argmax(-1)
    return ids, chosen


# %% 5. the others come equally often
def answer(masked, labels, logits):
    chosen = labels != IGNORE
    even = torch.zeros_like(logits).scatter(1, labels[chosen][:, None], -torch.inf)
    return replace_tokens(masked, labels, even)


# %% 5. the likeliest of the others comes at
def answer(masked, labels, logits):
    others = logits.scatter(1, labels[labels != IGNORE][:, None], -torch.inf)
    return replace_tokens(masked, labels, others.softmax(-1).log() / 2)


# %% 5. did one word go in each row
def answer(masked, labels, logits):
    others = logits.clone()
    others[:, labels[labels != IGNORE]] = -torch.inf
    return replace_tokens(masked, labels, others)


# %% 5. work on a copy
def answer(masked, labels, logits):
    stood = labels[labels != IGNORE]
    logits[torch.arange(len(stood)), stood] = -torch.inf
    return replace_tokens(masked, labels, logits)


# %% 5. work on a copy
def answer(masked, labels, logits):
    chosen = labels != IGNORE
    others = logits.scatter(1, labels[chosen][:, None], -torch.inf)
    masked[chosen] = others.softmax(-1).multinomial(1)[:, 0]
    return masked, chosen


# %% 5. that nobody asked about
def answer(masked, labels, logits):
    others = logits.scatter(1, labels[labels != IGNORE][:, None], -torch.inf)
    ids, replaced = replace_tokens(masked, labels, others)
    return ids.where(replaced, labels), replaced


# %% 5. count as replaced
def answer(masked, labels, logits):
    others = logits.scatter(1, labels[labels != IGNORE][:, None], -torch.inf)
    ids = replace_tokens(masked, labels, others)[0]
    return ids, ids != labels


# %% 5. places are still masked
def answer(masked, labels, logits):
    ids, replaced = replace_tokens(masked, labels, logits)
    return masked.where(~replaced, ids), replaced


# %% 6. the mean of their logits
def answer(logits, several, temperature):
    return distillation_loss(logits, several.mean(0), temperature)


# %% 6. you average losses
def answer(logits, several, temperature):
    each = [distillation_loss(logits, one, temperature) for one in several]
    return sum(each) / len(each)


# %% 6. the factor of the temperature is missing
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return F.kl_div(q, p, reduction="batchmean")


# %% 6. the temperature squared, not
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature * F.kl_div(q, p, reduction="batchmean")


# %% 6. the student's logits are not divided
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    return temperature**2 * F.kl_div(logits.log_softmax(-1), p, reduction="batchmean")


# %% 6. the teachers' logits are not divided
def answer(logits, several, temperature):
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, several.softmax(-1).mean(0), reduction="batchmean")


# %% 6. nothing is divided
def answer(logits, several, temperature):
    p, q = several.softmax(-1).mean(0), logits.log_softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean")


# %% 6. soften each list, then
def answer(logits, several, temperature):
    return distillation_loss(logits, several.softmax(-1).mean(0).log(), temperature)


# %% 6. the wrong way round: the teachers'
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).softmax(-1)
    return temperature**2 * F.kl_div(p.log(), q, reduction="batchmean")


# %% 6. own entropy is left in it
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    return temperature**2 * F.cross_entropy(logits / temperature, p)


# %% 6. softmax of shares
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    return distillation_loss(logits, p, temperature)


# %% 6. softened twice
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    return distillation_loss(logits, p.log(), temperature)


# %% 6. divided by V, too
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, p)


# %% 6. a sum over the places
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="sum")


# %% 6. a sum over the teachers
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).sum(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean")


# %% 6. the sign is the wrong way round
def answer(logits, several, temperature):
    mean = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * (mean * (q - mean.log())).sum(-1).mean()


# %% 6. no gradient comes back
def answer(logits, several, temperature):
    mean = (several / temperature).softmax(-1).mean(0)
    return distillation_loss(logits, temperature * mean.log(), temperature).item()


# %% 6. one number for all places
def answer(logits, several, temperature):
    p = (several / temperature).softmax(-1).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="none").sum(-1)


# %% 6. and should be
def answer(logits, several, temperature):
    p = (several / temperature).softmax(0).mean(0)
    q = (logits / temperature).log_softmax(-1)
    return temperature**2 * F.kl_div(q, p, reduction="batchmean")
