# The two commands a newcomer needs: make demo, make test. Everything else is for those who change the code.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_NUM_THREADS ?= 2

LONG := test-slow proof-beauty proof-ml-1m proof-parity proof-serving proof-intents proof-intents-ml-1m proof-family \
  proof-intents-ablations proof-user-attribute proof-which-negatives \
  proof-log-q proof-denoised proof-gowalla proof-item-self-supervision \
  proof-nbpo proof-relevance proof-metric-learning proof-new-items proof-propagation-depth proof-watch-time proof-ctr proof-attribute-curves proof-tasks \
  bench-ingest bench-ingest-peers bench-ingest-large bench-train bench-loss bench-pieces bench-serve \
  bench-objectives bench-ctr bench-negatives bench-propagation gpu-proof
.PHONY: demo test check format proof-demo readme peers clean help $(LONG)

help:
	@echo "make demo     the whole road on simulated logs, ends with the path of report.html (1 to 3 minutes)"
	@echo "make test     the tests"
	@echo "make check    formatter, linter, types, layer contract, budgets"
	@echo "make X        long proofs, results go to benchmarks/results/: $(LONG)"
	@echo "make peers    environments of RecBole, RecTools and FuxiCTR for side-by-side benchmarks"

# One stamp: reinstall when the dependencies change.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "usermodel needs Python 3.11 to 3.13; found %d.%d. Name another with make PYTHON=python3.12" % v)'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[cpu,dev]'
	@touch $@

demo: $(VENV)/.installed
	$(BIN)/usermodel demo -o demo-output --overwrite

# Two workers of one thread each: threads that wait for each other are slower on two cores.
test: $(VENV)/.installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -m 'not slow' -n 2

test-slow: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m slow

check: $(VENV)/.installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/readme.py --check
	$(BIN)/python -m pytest -q tests/test_architecture.py

format: $(VENV)/.installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The main job on real input, scores and seconds: needs $USERMODEL_DATA_DIR; 2 minutes a seed on an idle machine.
QUALITY := $(BIN)/python benchmarks/quality/next_item.py
proof-beauty: $(VENV)/.installed
	$(QUALITY) --data beauty --goal-ndcg 0.0531 --out benchmarks/results/next_item_beauty.json
	$(QUALITY) --data beauty --recipe next-item-fast --goal-ndcg 0.05 --goal-seconds 60 \
	  --out benchmarks/results/next_item_beauty_fast.json

# 10 minutes a seed, and 2.
proof-ml-1m: $(VENV)/.installed
	$(QUALITY) --data ml-1m --set encoder.max_history=200 --goal-ndcg 0.1857 --out benchmarks/results/next_item_ml_1m.json
	$(QUALITY) --data ml-1m --recipe next-item-fast --set encoder.max_history=200 --goal-ndcg 0.18 --goal-seconds 480 \
	  --out benchmarks/results/next_item_ml_1m_fast.json

# The gain of the intents over the same engine's softmax; 5 minutes a seed, and 10.
proof-intents: $(VENV)/.installed
	$(QUALITY) --data beauty --recipe icsrec --goal-ndcg 0.0578 --goal-seconds 1200 \
	  --out benchmarks/results/next_item_beauty_icsrec.json
	$(QUALITY) --data beauty --set encoder.dropout=0.4 --out benchmarks/results/next_item_beauty_no_intents.json

proof-intents-ml-1m: $(VENV)/.installed
	$(QUALITY) --data ml-1m --recipe icsrec-long --at-once 2 --goal-ndcg 0.2007 --goal-seconds 5400 \
	  --out benchmarks/results/next_item_ml_1m_icsrec.json
	$(QUALITY) --data ml-1m --set encoder.max_history=200 --set encoder.dropout=0.1 --set training.ema=0.998 --at-once 2 \
	  --out benchmarks/results/next_item_ml_1m_no_intents.json

# A row of Beauty for each relative of the intents; minutes a seed, duorec more than an hour; a stopped command goes on. The published
# patience of coserec and iclrec is 40 epochs.
FAMILY = $(QUALITY) --data beauty --recipe $(1) --out benchmarks/results/next_item_beauty_$(1).json
proof-family: $(VENV)/.installed
	$(call FAMILY,bert4rec)
	$(call FAMILY,cl4srec)
	$(call FAMILY,coserec) --set training.patience=10
	$(call FAMILY,iclrec) --set training.patience=10
	$(call FAMILY,duorec)
	$(call FAMILY,clue)
	$(call FAMILY,barlow-twins)
	$(call FAMILY,next-item-matryoshka)

# The recipe icsrec without one of its parts; 5 minutes a seed.
ABLATION := $(QUALITY) --data beauty --recipe icsrec --out benchmarks/results/next_item_beauty_icsrec
proof-intents-ablations: $(VENV)/.installed
	$(ABLATION)_no_coarse.json --set objective.second_pass=false --set objective.coarse=0
	$(ABLATION)_no_fine.json --set objective.fine=0
	$(ABLATION)_one_pass.json --set objective.second_pass=false
	$(ABLATION)_all_alike.json --set objective.rare=null

# What frozen vectors tell about users, by objective and seed; hours, but a proof that is stopped goes on where it was.
proof-user-attribute: $(VENV)/.installed
	for data in coat tenrec movielens-100k; do \
	  $(BIN)/python benchmarks/quality/user_attribute.py --data $$data --steps 200 \
	    --out benchmarks/results/user_attribute_$$data.json || exit 1; done
	$(BIN)/python benchmarks/quality/user_attribute.py --data simulator --steps 200 --ablations \
	  --out benchmarks/results/user_attribute_simulator.json
	$(BIN)/python benchmarks/quality/user_attribute.py --data movielens-1m --steps 400 --ablations \
	  --out benchmarks/results/user_attribute_movielens-1m.json

# The gradient of the sampled softmax beside that of the full one, with log q and without it; seconds.
proof-log-q: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/log_q.py --out benchmarks/results/log_q.json

# Draws of negatives beside numpy, and beside RecBole where make peers has built it; a minute on an idle machine.
bench-negatives: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/negatives.py --json benchmarks/results/negatives.json

# The same encoder with several losses and negatives, on Beauty; hours. A stopped command goes on.
proof-which-negatives: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/which_negatives.py --out benchmarks/results/which_negatives_beauty.json

# Whether hard negatives hit hidden positives, and whether the denoised sampler counts them less; 10 minutes on an idle machine.
proof-denoised: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/denoised.py --out benchmarks/results/denoised.json

# Models of ids on Gowalla by loss and negatives; a run takes minutes, all of them hours. A stopped command goes on.
proof-gowalla: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/gowalla.py --out benchmarks/results/gowalla_negatives.json

# Sums on the graph of users and items beside sparse matrices; a minute.
bench-propagation: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/propagation.py --json benchmarks/results/propagation.json

# Recall of items that few took, with and without self-supervision of item vectors; 5 minutes on an idle machine.
proof-item-self-supervision: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/item_self_supervision.py --out benchmarks/results/item_self_supervision_ml_1m.json

# Labels with noise, and clicks that are missing not at random: planted truth in MovieLens-100K and the simulator, random ratings
# of Coat; CML beside BPR-MF. Minutes each on an idle machine, Coat a quarter of an hour.
proof-nbpo: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/nbpo.py --out benchmarks/results/nbpo.json

proof-relevance: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/relevance.py --out benchmarks/results/relevance.json

proof-metric-learning: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/metric_learning.py --out benchmarks/results/metric_learning.json

# Articles that nobody has taken yet, recommended by their tags; 15 minutes. A stopped command goes on.
proof-new-items: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/new_items.py --out benchmarks/results/new_items.json

# Attributes by the number of labelled users, beside statistics and bags of items; 20 minutes. A stopped command goes on.
proof-attribute-curves: $(VENV)/.installed
	for data in movielens-1m movielens-100k tenrec kuairand simulator; do \
	  $(BIN)/python benchmarks/quality/attribute_curves.py --data $$data --out benchmarks/results/attribute_curves_$$data.json || exit 1; done

# All tasks by objective, beside what needs no pretraining; an hour. A stopped command goes on.
proof-tasks: $(VENV)/.installed
	for data in simulator movielens-100k kuairand; do \
	  $(BIN)/python benchmarks/quality/all_tasks.py --data $$data --out benchmarks/results/all_tasks_$$data.json || exit 1; done

# All watch-time heads with user vectors and without; hours. A stopped command goes on.
proof-watch-time: $(VENV)/.installed
	for data in kuairand simulator; do \
	  $(BIN)/python benchmarks/quality/watch_time.py --data $$data --out benchmarks/results/watch_time_$$data.json || exit 1; done

# All CTR heads, few and many labels, with user vectors and without; an hour. A stopped command goes on.
proof-ctr: $(VENV)/.installed
	for data in movielens-100k kuairand simulator movielens-1m; do \
	  $(BIN)/python benchmarks/quality/ctr.py --data $$data --out benchmarks/results/ctr_$$data.json || exit 1; done

# LightGCN with 0, 1 and 3 layers on Last.fm; 15 minutes. A stopped command goes on.
proof-propagation-depth: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/propagation_depth.py --out benchmarks/results/propagation_depth.json

# Seconds of an epoch with each recipe; 10 minutes.
bench-objectives: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/objectives.py --json benchmarks/results/objectives.json

# ICSRec's official weights give their published figures here: needs the data above and the two files of weights in
# $USERMODEL_CHECKPOINTS_DIR; about 2 minutes.
proof-parity: $(VENV)/.installed
	$(BIN)/python benchmarks/quality/parity_icsrec.py --out benchmarks/results/parity_icsrec.json

# What the demo prints, for the README.
proof-demo: $(VENV)/.installed
	COLUMNS=100 $(BIN)/usermodel demo -o demo-output --overwrite 2>&1 | sed "s|$(CURDIR)/||" | tee benchmarks/results/demo.txt

readme: $(VENV)/.installed
	$(BIN)/python tools/readme.py

# Peers run in environments of their own (.peers/NAME), because they cannot live beside today's numpy. Python 3.11.
PEERS := recbole rectools fuxictr
peers: $(PEERS:%=.peers/%/.installed)

.peers/%/.installed: benchmarks/peers/%.txt
	$(PYTHON) -m venv .peers/$*
	.peers/$*/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

# 10 M events to a store, side by side with twenty lines of polars; about 5 minutes on an idle machine.
bench-ingest: $(VENV)/.installed
	for job in csv-int csv-str parquet-int parquet-str; do \
	  $(BIN)/python benchmarks/speed/ingest.py --job $$job --json benchmarks/results/ingest-$$job.json || exit 1; done

# The same beside libraries (make peers); about half an hour.
bench-ingest-peers: $(VENV)/.installed peers
	for peer in recbole rectools fuxictr; do \
	  $(BIN)/python benchmarks/speed/ingest.py --job csv-str --peer $$peer --repeat 1 \
	    --json benchmarks/results/ingest-csv-str-$$peer.json || exit 1; done

# 100 M events, for memory; needs 5 GB of disk and, to make the log, 12 GB of memory.
bench-ingest-large: $(VENV)/.installed
	for job in csv-str parquet-int; do \
	  $(BIN)/python benchmarks/speed/ingest.py --job $$job --events 100000000 --users 3000000 --items 1000000 \
	    --peer none --repeat 1 --json benchmarks/results/ingest-100m-$$job.json || exit 1; done

# Seconds of a training epoch beside a plain script and RecBole (make peers); about 15 minutes on an idle machine.
bench-train: $(VENV)/.installed peers
	$(BIN)/python benchmarks/speed/train.py --peer plain --repeat 2 --json benchmarks/results/train-beauty-epoch-plain.json
	$(BIN)/python benchmarks/speed/train.py --peer recbole --repeat 1 --epochs 2 \
	  --json benchmarks/results/train-beauty-epoch-recbole.json

# Encoding, evaluation, exports and retrieval beside their peers (make peers).
bench-serve: $(VENV)/.installed peers
	for job in encode evaluate export faiss-by-hand million-items; do \
	  $(BIN)/python benchmarks/speed/serve.py --job $$job --json benchmarks/results/serve-$$job.json || exit 1; done

# DeepFM beside FuxiCTR (make peers): rows a second, AUC, and whether forward passes agree; 4 minutes on an idle machine.
bench-ctr: $(VENV)/.installed peers
	$(BIN)/python benchmarks/speed/ctr.py --rows 300000 --test-rows 100000 --json benchmarks/results/ctr-deepfm-fuxictr.json
	$(BIN)/python benchmarks/speed/row_pieces.py --json benchmarks/results/ctr-pieces.json

# Everything after pretraining, through the command line, on Beauty and MovieLens-1M.
proof-serving: $(VENV)/.installed
	for data in beauty ml-1m; do \
	  $(BIN)/python benchmarks/quality/serving.py --data $$data --out benchmarks/results/serving_$$data.json || exit 1; done

# What decided how a step is computed: each piece beside the one it replaced; a minute.
bench-pieces: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/pieces.py --json benchmarks/results/pieces.json

# On a machine with a GPU; one JSON.
gpu-proof: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/gpu.py --json benchmarks/results/gpu.json

# The loss over the catalogue: seconds of each way, and memory of a step with a million items; about 8 minutes.
bench-loss: $(VENV)/.installed
	$(BIN)/python benchmarks/speed/catalogue_loss.py --job time --json benchmarks/results/catalogue-loss.json
	$(BIN)/python benchmarks/speed/catalogue_loss.py --job memory --json benchmarks/results/catalogue-memory.json
	$(BIN)/python benchmarks/speed/catalogue_loss.py --job rows --json benchmarks/results/catalogue-rows.json

clean:
	rm -rf $(VENV) demo-output dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis
