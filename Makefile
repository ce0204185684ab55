# `make help` lists the targets. Another Python: make PYTHON=python3.12 train
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/erfnet_camvid.py
NAME := $(basename $(notdir $(CONFIG)))
WORK_DIR ?= work_dirs/$(NAME)

.DEFAULT_GOAL := help
.PHONY: help setup demo train train-config train-synthetic test test-slow test-formats test-openmmlab lint

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: .venv/.ready ## make .venv with the pinned packages

.venv/.ready: requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one, as in: make PYTHON=python3.12 setup")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --requirement requirements.txt
	$(BIN)/pip install --no-deps --editable .
	touch $@

# Without CONFIG and without the frames, a few minutes on synthetic ones.
GIVEN := $(filter-out file,$(origin CONFIG))

train: $(if $(GIVEN)$(wildcard data/camvid),train-config,train-synthetic) ## train on data/camvid, or a few minutes on synthetic streets; CONFIG=configs/NAME.py

train-config: setup
	$(BIN)/python tools/train.py $(CONFIG) --work-dir $(WORK_DIR) --resume --amp
	$(BIN)/python tools/test.py $(CONFIG) $(WORK_DIR) --show-dir $(WORK_DIR)/painted

# Fine-tuned from the shipped weights, with a schedule and augmentation for a few minutes.
QUICK := work_dirs/quickstart
SYNTHETIC := $(foreach part,train val test,$(part)_dataloader.dataset.data_root=data/synthetic_camvid)
P := train_dataloader.dataset.pipeline
QUICKSTART := load_from=weights/erfnet_camvid11_trainval.pth train_dataloader.batch_size=4 train_cfg.val_interval=8 \
	model.backbone.dropout_ratio=0.0 model.decode_head.dropout_ratio=0.0 optim_wrapper.optimizer.lr=0.001 \
	optim_wrapper.paramwise_cfg.custom_keys.conv_seg.lr_mult=10 $P.2.prob=0.2 $P.3.degree=5 $P.4.prob=0.2 \
	$P.5.prob=0.2 $P.6.prob=0.2 $P.7.prob=0.2

train-synthetic: setup
	@echo 'There is no data/camvid: training for some six minutes on synthetic streets; for the real frames see "Train" in README.md.'
	@test -d data/synthetic_camvid || $(BIN)/python tools/synthesize_camvid.py --out data/synthetic_camvid --images 80
	@rm -rf $(QUICK)
	@$(BIN)/python tools/train.py configs/erfnet_camvid.py --amp --epochs 16 --work-dir $(QUICK) --cfg-options $(SYNTHETIC) $(QUICKSTART)
	@$(BIN)/python tools/test.py configs/erfnet_camvid.py $(QUICK) --show-dir $(QUICK)/painted --cfg-options $(SYNTHETIC)

DEMO := work_dirs/demo

demo: setup ## paint a video of a synthetic street, and say how fast
	$(BIN)/python tools/synthesize_camvid.py --video $(DEMO)/street.webm --images 100
	$(BIN)/python tools/predict.py weights/erfnet_synthetic_int8.xml $(DEMO)/street.webm --out $(DEMO)/painted --overwrite

# Two processes of one thread each: twice as fast on two cores as one process of two.
test: setup ## run the tests
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal

test-slow: setup ## run the tests that take minutes
	$(BIN)/python -m pytest -m slow

test-formats: setup ## run the tests of ncnn and LiteRT, whose packages it installs
	$(BIN)/pip install --editable '.[ncnn,litert]'
	$(BIN)/python -m pytest -m formats

lint: setup ## check style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mmcv 2.1.0 comes as source alone, and its set-up needs pkg_resources, hence setuptools < 81. The wheel is kept in the user's cache.
OPENMMLAB := .venv-openmmlab/bin
WHEELS := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/mmseg_erfnet/mmcv-2.1.0-torch-2.13.0

.venv-openmmlab/.ready: requirements.txt pyproject.toml
	$(PYTHON) -m venv .venv-openmmlab
	$(OPENMMLAB)/pip install torch==2.13.0 'setuptools<81' wheel ninja
	$(OPENMMLAB)/pip install --no-index --no-deps --find-links $(WHEELS) mmcv==2.1.0 || \
	{ $(OPENMMLAB)/pip wheel --no-build-isolation --no-deps --wheel-dir $(WHEELS) mmcv==2.1.0 && \
	  $(OPENMMLAB)/pip install --no-index --no-deps --find-links $(WHEELS) mmcv==2.1.0; }
	grep -v onedl requirements.txt > .venv-openmmlab/requirements.txt
	$(OPENMMLAB)/pip install --requirement .venv-openmmlab/requirements.txt mmcv==2.1.0 mmengine==0.10.7 mmsegmentation==1.2.2 ftfy regex
	$(OPENMMLAB)/pip install --no-deps --editable .
	touch $@

# Where the two families could differ: look-ups, configs, checkpoints, labels, and a run from its first epoch to its score.
COMPATIBILITY := $(addprefix tests/,models datasets/test_camvid.py datasets/test_cityscapes.py datasets/test_loading.py \
	test_registry.py test_configs.py test_doctor.py test_train_and_score.py test_checkpoints_refused.py test_resume.py \
	test_processes.py)

test-openmmlab: .venv-openmmlab/.ready ## run the compatibility tests on OpenMMLab's own packages; compiles mmcv the first time
	$(OPENMMLAB)/python -m pytest --numprocesses 2 --dist worksteal $(COMPATIBILITY)
