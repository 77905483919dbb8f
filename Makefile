# Two commands do all the set-up: `make book` (the rendered book) and `make test`.
# Each target is a Python command, which works without make: python tools/make.py TARGET
PYTHON  ?= python3
TARGETS := help book test lab html links chapter chapters check unit wheel notebooks bench peers gpu colab student slides downloads poster clean

.PHONY: $(TARGETS)
$(TARGETS):
	@$(PYTHON) tools/make.py $@ $(if $(filter chapter book colab bench wheel student slides,$@),$(ONLY))
