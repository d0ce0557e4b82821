-- m0006_directives
PRAGMA application_id = 1145979219;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'diffnas','m0001_tables','2026-11-28 02:50:14.778456+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'diffnas','m0002_results','2026-11-28 02:50:14.828914+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'diffnas','m0003_pruned_trials','2026-11-28 02:50:14.871886+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'diffnas','m0004_replicas','2026-11-28 02:50:14.912802+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'diffnas','m0005_strategies','2026-11-28 02:50:14.958635+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'diffnas','m0006_directives','2026-11-28 02:50:15.010292+00:00');
CREATE TABLE citations (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        directive INTEGER NOT NULL REFERENCES directives (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        what TEXT NOT NULL,
        created TEXT NOT NULL,
        UNIQUE (directive, round, what)
    ) STRICT
    ;
CREATE TABLE directives (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        kind TEXT NOT NULL,
        arguments_json TEXT NOT NULL CHECK (json_valid(arguments_json)),
        text TEXT NOT NULL,
        author TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('active', 'done', 'undone')),
        created TEXT NOT NULL,
        seen_round INTEGER CHECK (seen_round >= 0),
        ended TEXT,
        key TEXT,
        UNIQUE (search, key),
        CHECK ((state = 'active') = (ended IS NULL))
    ) STRICT
    ;
INSERT INTO "directives" VALUES(1,1,'note','{}','be bold','user','active','2026-11-21T04:05:06.789+00:00',NULL,NULL,NULL);
CREATE TABLE latencies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        spec TEXT NOT NULL,
        family TEXT NOT NULL,
        resolution INTEGER NOT NULL,
        channels INTEGER NOT NULL,
        device TEXT NOT NULL,
        threads INTEGER NOT NULL,
        median_ms REAL NOT NULL CHECK (median_ms > 0),
        forwards INTEGER NOT NULL CHECK (forwards > 0),
        created TEXT NOT NULL,
        UNIQUE (spec, family, resolution, channels, device, threads)
    ) STRICT
    ;
CREATE TABLE ledger (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        created TEXT NOT NULL,
        kind TEXT NOT NULL CHECK (kind IN ('train', 'score', 'model', 'wall')),
        device_seconds REAL NOT NULL,
        wall_seconds REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL,
        note TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "ledger" VALUES(1,1,'2026-11-28T02:50:15.930+00:00','train',30.0,0.0,0,0,0.0,'');
INSERT INTO "ledger" VALUES(2,1,'2026-11-28T02:50:15.977+00:00','wall',0.0,40.0,0,0,0.0,'');
INSERT INTO "ledger" VALUES(3,1,'2026-11-28T02:50:15.999+00:00','model',0.0,0.0,100,20,NULL,'');
CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER,
        role TEXT NOT NULL,
        author TEXT NOT NULL,
        text TEXT NOT NULL,
        created TEXT NOT NULL,
        taken TEXT
    ) STRICT
    ;
INSERT INTO "messages" VALUES(1,1,1,'user','user','go on','2026-11-21T04:05:06.789+00:00',NULL);
CREATE TABLE model_calls (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER,
        purpose TEXT NOT NULL,
        model TEXT NOT NULL,
        request_json TEXT NOT NULL CHECK (json_valid(request_json)),
        response_json TEXT CHECK (response_json IS NULL OR json_valid(response_json)),
        error TEXT,
        input_tokens INTEGER,
        output_tokens INTEGER,
        cost_usd REAL,
        seconds REAL NOT NULL,
        created TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "model_calls" VALUES(1,1,1,'propose','offline','{}','{}',NULL,NULL,NULL,NULL,1.5,'2026-11-21T04:05:06.789+00:00');
CREATE TABLE proposals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        attempt INTEGER NOT NULL CHECK (attempt >= 1),
        created TEXT NOT NULL,
        proposer TEXT NOT NULL,
        raw_text TEXT NOT NULL,
        spec TEXT,
        accepted INTEGER NOT NULL CHECK (accepted IN (0, 1)),
        reason TEXT,
        refusal TEXT,
        refusal_kind TEXT,
        UNIQUE (search, round, attempt),
        CHECK (accepted = 0 OR spec IS NOT NULL),
        CHECK (accepted = (refusal IS NULL) AND accepted = (refusal_kind IS NULL))
    ) STRICT
    ;
INSERT INTO "proposals" VALUES(1,1,0,1,'2026-11-28T02:50:15.138+00:00','offline','b16-n1-m1.2.2.2-a0100','b16-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(2,1,1,1,'2026-11-28T02:50:15.374+00:00','offline','b32-n1-m1.2.2.2-a0100','b32-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(3,1,2,1,'2026-11-28T02:50:15.598+00:00','offline','b8-n1-m1.1.1.1-a0000','b8-n1-m1.1.1.1-a0000',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(4,1,3,1,'2026-11-28T02:50:15.722+00:00','offline','{',NULL,0,NULL,'not a spec','malformed');
INSERT INTO "proposals" VALUES(5,1,3,2,'2026-11-28T02:50:15.754+00:00','offline','b16-n2-m1.2.2.2-a0100','b16-n2-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(6,2,0,1,'2026-11-28T02:50:15.873+00:00','offline','b16-n1-m1.2.2.2-a0100','b16-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
CREATE TABLE protocols (
        fingerprint TEXT PRIMARY KEY,
        metric TEXT NOT NULL,
        content_json TEXT NOT NULL CHECK (json_valid(content_json)),
        created TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "protocols" VALUES('3e369822f270','fid-digits-cnn','{"data_fingerprint":"dddddddddddd","settings":{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false},"strategy":{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600},"score":{"feature_network":"digits-cnn","feature_sha256":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","feature_input_size":8,"resize_filter":"none","grey_to_rgb":"repeat","reference_split":"train","reference_count":1437,"sampler":"ddim","sampling_steps":50,"variance":null,"num_images":1000,"ema":true}}','2026-11-28T02:50:15.088+00:00');
CREATE TABLE replicas (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        trial INTEGER NOT NULL REFERENCES trials (id),
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL CHECK (state IN ('running', 'scored', 'failed')),
        created TEXT NOT NULL,
        finished TEXT,
        error TEXT,
        UNIQUE (search, training),
        CHECK ((state = 'failed') = (error IS NOT NULL))
    ) STRICT
    ;
INSERT INTO "replicas" VALUES(1,1,1,5,'scored','2026-11-28T02:50:16.122+00:00','2026-11-28T02:50:16.187+00:00',NULL);
CREATE TABLE scores (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        training INTEGER NOT NULL REFERENCES trainings (id),
        step INTEGER NOT NULL CHECK (step >= 0),
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        sampling_seed INTEGER NOT NULL,
        metric TEXT NOT NULL,
        value REAL,
        num_images INTEGER NOT NULL CHECK (num_images > 0),
        device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
        extra_json TEXT NOT NULL CHECK (json_valid(extra_json)),
        created TEXT NOT NULL,
        UNIQUE (training, step, protocol, sampling_seed, metric)
    ) STRICT
    ;
INSERT INTO "scores" VALUES(1,1,600,'3e369822f270',0,'fid-digits-cnn',4.0,1000,2.0,'{}','2026-11-28T02:50:15.295+00:00');
INSERT INTO "scores" VALUES(2,2,600,'3e369822f270',0,'fid-digits-cnn',3.0,1000,2.0,'{}','2026-11-28T02:50:15.530+00:00');
INSERT INTO "scores" VALUES(3,1,600,'3e369822f270',1,'fid-digits-cnn',5.0,1000,2.0,'{}','2026-11-28T02:50:15.830+00:00');
INSERT INTO "scores" VALUES(4,5,600,'3e369822f270',0,'fid-digits-cnn',4.5,1000,2.0,'{}','2026-11-28T02:50:16.162+00:00');
CREATE TABLE searches (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        state TEXT NOT NULL CHECK (state IN ('running', 'paused', 'interrupted', 'finished', 'failed')),
        created TEXT NOT NULL,
        updated TEXT NOT NULL,
        finished TEXT,
        reason TEXT,
        budget_macs INTEGER NOT NULL CHECK (budget_macs > 0),
        count_convention TEXT NOT NULL CHECK (count_convention IN ('paper', 'total')),
        rounds INTEGER NOT NULL CHECK (rounds >= 0),
        seed INTEGER NOT NULL,
        searcher TEXT NOT NULL,
        backend TEXT NOT NULL,
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        config_json TEXT NOT NULL CHECK (json_valid(config_json)),
        lease_token TEXT,
        lease_host TEXT,
        lease_pid INTEGER,
        lease_pid_start INTEGER,
        lease_heartbeat TEXT,
        CHECK ((lease_token IS NULL) = (lease_heartbeat IS NULL))
    ) STRICT
    ;
INSERT INTO "searches" VALUES(1,'early','running','2026-11-28T02:50:15.088+00:00','2026-11-28T02:50:15.088+00:00',NULL,NULL,1000000,'paper',5,0,'llm','offline','3e369822f270','{}',NULL,NULL,NULL,NULL,NULL);
INSERT INTO "searches" VALUES(2,'late','running','2026-11-28T02:50:15.866+00:00','2026-11-28T02:50:15.866+00:00',NULL,NULL,1000000,'paper',7,0,'llm','offline','3e369822f270','{}',NULL,NULL,NULL,NULL,NULL);
CREATE TABLE strategies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        created TEXT NOT NULL,
        proposer TEXT NOT NULL,
        raw_text TEXT NOT NULL,
        reason TEXT,
        strategy_json TEXT NOT NULL CHECK (json_valid(strategy_json)),
        fingerprint TEXT NOT NULL,
        cost REAL NOT NULL CHECK (cost > 0),
        UNIQUE (search, round),
        UNIQUE (search, fingerprint)
    ) STRICT
    ;
INSERT INTO "strategies" VALUES(1,2,0,'2026-11-21T04:05:06.789+00:00','standard','',NULL,'{}','ffffffffffff',1.0);
CREATE TABLE strategy_measurements (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        strategy INTEGER NOT NULL REFERENCES strategies (id),
        created TEXT NOT NULL,
        tau REAL CHECK (tau BETWEEN -1 AND 1),
        low REAL,
        high REAL,
        device_seconds REAL NOT NULL CHECK (device_seconds >= 0),
        specs INTEGER NOT NULL CHECK (specs >= 0),
        error TEXT,
        CHECK ((tau IS NULL) = (low IS NULL) AND (tau IS NULL) = (high IS NULL)),
        CHECK (low <= tau AND tau <= high),
        CHECK (error IS NULL OR tau IS NULL)
    ) STRICT
    ;
CREATE TABLE trainings (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        base_channel INTEGER NOT NULL, num_blocks INTEGER NOT NULL, mult_0 INTEGER NOT NULL, mult_1 INTEGER NOT NULL, mult_2 INTEGER NOT NULL, mult_3 INTEGER NOT NULL, attn_0 INTEGER NOT NULL, attn_1 INTEGER NOT NULL, attn_2 INTEGER NOT NULL, attn_3 INTEGER NOT NULL,
        family TEXT NOT NULL,
        dataset TEXT NOT NULL,
        data_fingerprint TEXT NOT NULL,
        strategy_json TEXT NOT NULL CHECK (json_valid(strategy_json)),
        settings_json TEXT NOT NULL CHECK (json_valid(settings_json)),
        seed INTEGER NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('queued', 'running', 'done', 'failed')),
        steps_done INTEGER NOT NULL DEFAULT 0 CHECK (steps_done >= 0),
        loss REAL,
        device_seconds REAL NOT NULL DEFAULT 0 CHECK (device_seconds >= 0),
        error TEXT,
        run_folder TEXT NOT NULL,
        macs_paper INTEGER NOT NULL CHECK (macs_paper > 0),
        macs_total INTEGER NOT NULL CHECK (macs_total >= macs_paper),
        params INTEGER NOT NULL CHECK (params > 0),
        created TEXT NOT NULL,
        finished TEXT
    ) STRICT
    ;
INSERT INTO "trainings" VALUES(1,'001030b09d2d','b16-n1-m1.2.2.2-a0100',16,1,1,2,2,2,0,1,0,0,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'done',600,0.1,30.0,NULL,'/runs/b16-n1-m1.2.2.2-a0100-0',1000,1010,500,'2026-11-28T02:50:15.139+00:00','2026-11-28T02:50:15.217+00:00');
INSERT INTO "trainings" VALUES(2,'b31573ff472b','b32-n1-m1.2.2.2-a0100',32,1,1,2,2,2,0,1,0,0,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'done',600,0.1,30.0,NULL,'/runs/b32-n1-m1.2.2.2-a0100-0',3000,3010,500,'2026-11-28T02:50:15.375+00:00','2026-11-28T02:50:15.452+00:00');
INSERT INTO "trainings" VALUES(3,'3267e454cca5','b8-n1-m1.1.1.1-a0000',8,1,1,1,1,1,0,0,0,0,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'failed',0,NULL,1.0,'out of memory','/runs/b8-n1-m1.1.1.1-a0000-0',1000,1010,500,'2026-11-28T02:50:15.598+00:00','2026-11-28T02:50:15.633+00:00');
INSERT INTO "trainings" VALUES(4,'ed9f8be051f7','b16-n2-m1.2.2.2-a0100',16,2,1,2,2,2,0,1,0,0,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'queued',0,NULL,0.0,NULL,'/runs/b16-n2-m1.2.2.2-a0100-0',1000,1010,500,'2026-11-28T02:50:15.755+00:00',NULL);
INSERT INTO "trainings" VALUES(5,'7030c15299db','b16-n1-m1.2.2.2-a0100',16,1,1,2,2,2,0,1,0,0,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',7,'queued',0,NULL,0.0,NULL,'/runs/b16-n1-m1.2.2.2-a0100-7',1000,1010,500,'2026-11-28T02:50:16.122+00:00',NULL);
CREATE TABLE "trials" (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        proposal INTEGER NOT NULL UNIQUE REFERENCES proposals (id),
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL CHECK (state IN ('running', 'trained', 'scored', 'failed', 'pruned')),
        cached INTEGER NOT NULL CHECK (cached IN (0, 1)),
        created TEXT NOT NULL,
        finished TEXT,
        error TEXT,
        UNIQUE (search, round),
        CHECK ((state IN ('failed', 'pruned')) = (error IS NOT NULL))
    ) STRICT
    ;
INSERT INTO "trials" VALUES(1,1,0,1,1,'scored',0,'2026-11-28T02:50:15.139+00:00','2026-11-28T02:50:15.333+00:00',NULL);
INSERT INTO "trials" VALUES(2,1,1,2,2,'scored',0,'2026-11-28T02:50:15.375+00:00','2026-11-28T02:50:15.574+00:00',NULL);
INSERT INTO "trials" VALUES(3,1,2,3,3,'failed',0,'2026-11-28T02:50:15.598+00:00','2026-11-28T02:50:15.678+00:00','out of memory');
INSERT INTO "trials" VALUES(4,1,3,5,4,'pruned',0,'2026-11-28T02:50:15.755+00:00','2026-11-21T04:05:06.789+00:00','behind');
INSERT INTO "trials" VALUES(5,2,0,6,1,'scored',1,'2026-11-28T02:50:15.878+00:00','2026-11-28T02:50:15.896+00:00',NULL);
CREATE TABLE verdicts (
        trial INTEGER PRIMARY KEY REFERENCES trials (id),
        ci_low REAL,
        ci_high REAL,
        baseline TEXT NOT NULL CHECK (baseline IN ('better', 'worse', 'inconclusive', 'unmeasured')),
        incumbent TEXT NOT NULL CHECK (incumbent IN ('better', 'worse', 'inconclusive', 'unmeasured')),
        why_baseline TEXT NOT NULL,
        why_incumbent TEXT NOT NULL,
        noise_cv REAL,
        degrees_of_freedom INTEGER,
        created TEXT NOT NULL,
        CHECK ((ci_low IS NULL) = (ci_high IS NULL))
    ) STRICT
    ;
INSERT INTO "verdicts" VALUES(2,2.0,4.5,'better','better','','',0.1,2,'2026-11-28T02:50:16.073+00:00');
CREATE UNIQUE INDEX "idx__sqlite_migrations_migration_set_name"
    ON "_sqlite_migrations" ("migration_set", "name");
CREATE INDEX messages_search ON messages (search);
CREATE INDEX model_calls_search ON model_calls (search);
CREATE INDEX ledger_search ON ledger (search);
CREATE TRIGGER ledger_no_update BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'ledger is append-only'); END;
CREATE TRIGGER ledger_no_delete BEFORE DELETE ON ledger BEGIN SELECT RAISE(ABORT, 'ledger is append-only'); END;
CREATE TRIGGER scores_no_update BEFORE UPDATE ON scores BEGIN SELECT RAISE(ABORT, 'scores is append-only'); END;
CREATE TRIGGER scores_no_delete BEFORE DELETE ON scores BEGIN SELECT RAISE(ABORT, 'scores is append-only'); END;
CREATE TRIGGER proposals_no_update BEFORE UPDATE ON proposals BEGIN SELECT RAISE(ABORT, 'proposals is append-only'); END;
CREATE TRIGGER proposals_no_delete BEFORE DELETE ON proposals BEGIN SELECT RAISE(ABORT, 'proposals is append-only'); END;
CREATE TRIGGER model_calls_no_update BEFORE UPDATE ON model_calls BEGIN SELECT RAISE(ABORT, 'model_calls is append-only'); END;
CREATE TRIGGER model_calls_no_delete BEFORE DELETE ON model_calls BEGIN SELECT RAISE(ABORT, 'model_calls is append-only'); END;
CREATE INDEX trials_training ON trials (training);
CREATE TRIGGER verdicts_no_update BEFORE UPDATE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE TRIGGER verdicts_no_delete BEFORE DELETE ON verdicts BEGIN SELECT RAISE(ABORT, 'verdicts is append-only'); END;
CREATE VIEW all_results AS
    WITH measured AS (
        SELECT training, protocol, metric, step, avg(value) AS value, count(value) AS sampling_seeds,
               sum(device_seconds) AS score_seconds
        FROM scores GROUP BY training, protocol, metric, step
    ),
    shown AS (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training
    )
    SELECT
        trials.id AS trial, trials.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, trainings.base_channel AS base_channel, trainings.num_blocks AS num_blocks, trainings.mult_0 AS mult_0, trainings.mult_1 AS mult_1, trainings.mult_2 AS mult_2, trainings.mult_3 AS mult_3, trainings.attn_0 AS attn_0, trainings.attn_1 AS attn_1, trainings.attn_2 AS attn_2, trainings.attn_3 AS attn_3,
        trainings.macs_paper AS macs_paper, trainings.macs_total AS macs_total, trainings.params AS params,
        measured.value AS rfid, protocols.metric AS metric, protocols.fingerprint AS protocol,
        trials.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        trainings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, measured.score_seconds AS score_seconds,
        measured.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        trials.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        protocols.fingerprint = searches.protocol AS own_protocol
    FROM shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN verdicts ON verdicts.trial = trials.id AND protocols.fingerprint = searches.protocol
    LEFT JOIN measured ON measured.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR protocols.fingerprint <> searches.protocol)
        AND measured.protocol = protocols.fingerprint
        AND measured.metric = protocols.metric
        AND measured.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = protocols.fingerprint AND metric = protocols.metric
        );
CREATE VIEW results AS SELECT * FROM all_results WHERE own_protocol;
CREATE INDEX strategy_measurements_strategy ON strategy_measurements (strategy);
CREATE TRIGGER strategies_no_update BEFORE UPDATE ON strategies BEGIN SELECT RAISE(ABORT, 'strategies is append-only'); END;
CREATE TRIGGER strategies_no_delete BEFORE DELETE ON strategies BEGIN SELECT RAISE(ABORT, 'strategies is append-only'); END;
CREATE TRIGGER strategy_measurements_no_update BEFORE UPDATE ON strategy_measurements BEGIN SELECT RAISE(ABORT, 'strategy_measurements is append-only'); END;
CREATE TRIGGER strategy_measurements_no_delete BEFORE DELETE ON strategy_measurements BEGIN SELECT RAISE(ABORT, 'strategy_measurements is append-only'); END;
CREATE TRIGGER citations_no_update BEFORE UPDATE ON citations BEGIN SELECT RAISE(ABORT, 'citations is append-only'); END;
CREATE TRIGGER citations_no_delete BEFORE DELETE ON citations BEGIN SELECT RAISE(ABORT, 'citations is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('trials',5);
INSERT INTO "sqlite_sequence" VALUES('searches',2);
INSERT INTO "sqlite_sequence" VALUES('proposals',6);
INSERT INTO "sqlite_sequence" VALUES('trainings',5);
INSERT INTO "sqlite_sequence" VALUES('scores',4);
INSERT INTO "sqlite_sequence" VALUES('ledger',3);
INSERT INTO "sqlite_sequence" VALUES('messages',1);
INSERT INTO "sqlite_sequence" VALUES('model_calls',1);
INSERT INTO "sqlite_sequence" VALUES('replicas',1);
INSERT INTO "sqlite_sequence" VALUES('strategies',1);
INSERT INTO "sqlite_sequence" VALUES('directives',1);
COMMIT;
