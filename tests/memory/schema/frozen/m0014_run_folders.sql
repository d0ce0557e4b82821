-- m0014_run_folders
PRAGMA application_id = 1145979219;
BEGIN TRANSACTION;
CREATE TABLE "_sqlite_migrations" (
   "id" INTEGER PRIMARY KEY,
   "migration_set" TEXT,
   "name" TEXT,
   "applied_at" TEXT
);
INSERT INTO "_sqlite_migrations" VALUES(1,'diffnas','m0001_tables','2026-11-28 02:50:42.896774+00:00');
INSERT INTO "_sqlite_migrations" VALUES(2,'diffnas','m0002_results','2026-11-28 02:50:42.930996+00:00');
INSERT INTO "_sqlite_migrations" VALUES(3,'diffnas','m0003_pruned_trials','2026-11-28 02:50:42.971289+00:00');
INSERT INTO "_sqlite_migrations" VALUES(4,'diffnas','m0004_replicas','2026-11-28 02:50:42.990755+00:00');
INSERT INTO "_sqlite_migrations" VALUES(5,'diffnas','m0005_strategies','2026-11-28 02:50:43.022492+00:00');
INSERT INTO "_sqlite_migrations" VALUES(6,'diffnas','m0006_directives','2026-11-28 02:50:43.048928+00:00');
INSERT INTO "_sqlite_migrations" VALUES(7,'diffnas','m0007_journal','2026-11-28 02:50:43.098154+00:00');
INSERT INTO "_sqlite_migrations" VALUES(8,'diffnas','m0008_backends','2026-11-28 02:50:43.135038+00:00');
INSERT INTO "_sqlite_migrations" VALUES(9,'diffnas','m0009_message_keys','2026-11-28 02:50:43.160247+00:00');
INSERT INTO "_sqlite_migrations" VALUES(10,'diffnas','m0010_kinds','2026-11-28 02:50:43.195803+00:00');
INSERT INTO "_sqlite_migrations" VALUES(11,'diffnas','m0011_standings','2026-11-28 07:41:10.035714+00:00');
INSERT INTO "_sqlite_migrations" VALUES(12,'diffnas','m0012_networks','2026-11-29 00:04:37.562867+00:00');
INSERT INTO "_sqlite_migrations" VALUES(13,'diffnas','m0013_replaced_directives','2026-11-29 01:55:41.651970+00:00');
INSERT INTO "_sqlite_migrations" VALUES(14,'diffnas','m0014_run_folders','2026-11-29 03:28:46.519776+00:00');
CREATE TABLE backend_checks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        created TEXT NOT NULL,
        llm TEXT NOT NULL,
        base_url TEXT NOT NULL,
        answers TEXT NOT NULL CHECK (answers IN ('tools', 'json_schema', 'fenced_json')),
        source TEXT NOT NULL CHECK (source IN ('doctor', 'search')),
        passed INTEGER,
        cases INTEGER,
        tokens_per_second REAL,
        detail_json TEXT NOT NULL CHECK (json_valid(detail_json)),
        CHECK ((passed IS NULL) = (cases IS NULL) AND (passed IS NULL OR passed BETWEEN 0 AND cases))
    ) STRICT
    ;
INSERT INTO "backend_checks" VALUES(1,'2026-11-21T04:05:06.789+00:00','offline','','tools','search',NULL,NULL,NULL,'null');
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
        key TEXT, replaced_by INTEGER REFERENCES directives (id),
        UNIQUE (search, key),
        CHECK ((state = 'active') = (ended IS NULL))
    ) STRICT
    ;
INSERT INTO "directives" VALUES(1,1,'note','{}','be bold','user','active','2026-11-21T04:05:06.789+00:00',NULL,NULL,NULL,NULL);
CREATE TABLE forks (
        search INTEGER PRIMARY KEY REFERENCES searches (id),
        parent INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER NOT NULL CHECK (round >= 0),
        created TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "forks" VALUES(2,1,0,'2026-11-21T04:05:06.789+00:00');
CREATE TABLE journal (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        place TEXT NOT NULL,
        row INTEGER NOT NULL,
        change TEXT NOT NULL CHECK (change IN ('insert', 'update', 'delete')),
        before_json TEXT CHECK (before_json IS NULL OR json_valid(before_json)),
        CHECK ((change = 'insert') = (before_json IS NULL))
    ) STRICT
    ;
INSERT INTO "journal" VALUES(1,'searches',1,'insert',NULL);
INSERT INTO "journal" VALUES(2,'proposals',1,'insert',NULL);
INSERT INTO "journal" VALUES(3,'trainings',1,'insert',NULL);
INSERT INTO "journal" VALUES(4,'trials',1,'insert',NULL);
INSERT INTO "journal" VALUES(5,'trainings',1,'update','{"id":1,"key":"001030b09d2d","spec":"b16-n1-m1.2.2.2-a0100","base_channel":16,"num_blocks":1,"mult_0":1,"mult_1":2,"mult_2":2,"mult_3":2,"attn_0":0,"attn_1":1,"attn_2":0,"attn_3":0,"family":"ddpm","dataset":"digits","data_fingerprint":"dddddddddddd","strategy_json":"{\"learning_rate\":0.0002,\"dropout\":0.1,\"diffusion_steps\":1000,\"batch_size\":128,\"warmup_steps\":0,\"ema_decay\":0.9999,\"gradient_clip\":1.0,\"train_steps\":600}","settings_json":"{\"dataset\":\"digits\",\"resolution\":8,\"channels\":1,\"family\":\"ddpm\",\"schedule\":\"linear\",\"horizontal_flips\":false}","seed":0,"state":"queued","steps_done":0,"loss":null,"device_seconds":"0.0","error":null,"run_folder":"/runs/b16-n1-m1.2.2.2-a0100-0","macs_paper":1000,"macs_total":1010,"params":500,"created":"2026-11-28T02:50:43.274+00:00","finished":null}');
INSERT INTO "journal" VALUES(6,'trainings',1,'update','{"id":1,"key":"001030b09d2d","spec":"b16-n1-m1.2.2.2-a0100","base_channel":16,"num_blocks":1,"mult_0":1,"mult_1":2,"mult_2":2,"mult_3":2,"attn_0":0,"attn_1":1,"attn_2":0,"attn_3":0,"family":"ddpm","dataset":"digits","data_fingerprint":"dddddddddddd","strategy_json":"{\"learning_rate\":0.0002,\"dropout\":0.1,\"diffusion_steps\":1000,\"batch_size\":128,\"warmup_steps\":0,\"ema_decay\":0.9999,\"gradient_clip\":1.0,\"train_steps\":600}","settings_json":"{\"dataset\":\"digits\",\"resolution\":8,\"channels\":1,\"family\":\"ddpm\",\"schedule\":\"linear\",\"horizontal_flips\":false}","seed":0,"state":"running","steps_done":0,"loss":null,"device_seconds":"0.0","error":null,"run_folder":"/runs/b16-n1-m1.2.2.2-a0100-0","macs_paper":1000,"macs_total":1010,"params":500,"created":"2026-11-28T02:50:43.274+00:00","finished":null}');
INSERT INTO "journal" VALUES(7,'trials',1,'update','{"id":1,"search":1,"round":0,"proposal":1,"training":1,"state":"running","cached":0,"created":"2026-11-28T02:50:43.274+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(8,'scores',1,'insert',NULL);
INSERT INTO "journal" VALUES(9,'trials',1,'update','{"id":1,"search":1,"round":0,"proposal":1,"training":1,"state":"trained","cached":0,"created":"2026-11-28T02:50:43.274+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(10,'proposals',2,'insert',NULL);
INSERT INTO "journal" VALUES(11,'trainings',2,'insert',NULL);
INSERT INTO "journal" VALUES(12,'trials',2,'insert',NULL);
INSERT INTO "journal" VALUES(13,'trainings',2,'update','{"id":2,"key":"b31573ff472b","spec":"b32-n1-m1.2.2.2-a0100","base_channel":32,"num_blocks":1,"mult_0":1,"mult_1":2,"mult_2":2,"mult_3":2,"attn_0":0,"attn_1":1,"attn_2":0,"attn_3":0,"family":"ddpm","dataset":"digits","data_fingerprint":"dddddddddddd","strategy_json":"{\"learning_rate\":0.0002,\"dropout\":0.1,\"diffusion_steps\":1000,\"batch_size\":128,\"warmup_steps\":0,\"ema_decay\":0.9999,\"gradient_clip\":1.0,\"train_steps\":600}","settings_json":"{\"dataset\":\"digits\",\"resolution\":8,\"channels\":1,\"family\":\"ddpm\",\"schedule\":\"linear\",\"horizontal_flips\":false}","seed":0,"state":"queued","steps_done":0,"loss":null,"device_seconds":"0.0","error":null,"run_folder":"/runs/b32-n1-m1.2.2.2-a0100-0","macs_paper":3000,"macs_total":3010,"params":500,"created":"2026-11-28T02:50:43.435+00:00","finished":null}');
INSERT INTO "journal" VALUES(14,'trainings',2,'update','{"id":2,"key":"b31573ff472b","spec":"b32-n1-m1.2.2.2-a0100","base_channel":32,"num_blocks":1,"mult_0":1,"mult_1":2,"mult_2":2,"mult_3":2,"attn_0":0,"attn_1":1,"attn_2":0,"attn_3":0,"family":"ddpm","dataset":"digits","data_fingerprint":"dddddddddddd","strategy_json":"{\"learning_rate\":0.0002,\"dropout\":0.1,\"diffusion_steps\":1000,\"batch_size\":128,\"warmup_steps\":0,\"ema_decay\":0.9999,\"gradient_clip\":1.0,\"train_steps\":600}","settings_json":"{\"dataset\":\"digits\",\"resolution\":8,\"channels\":1,\"family\":\"ddpm\",\"schedule\":\"linear\",\"horizontal_flips\":false}","seed":0,"state":"running","steps_done":0,"loss":null,"device_seconds":"0.0","error":null,"run_folder":"/runs/b32-n1-m1.2.2.2-a0100-0","macs_paper":3000,"macs_total":3010,"params":500,"created":"2026-11-28T02:50:43.435+00:00","finished":null}');
INSERT INTO "journal" VALUES(15,'trials',2,'update','{"id":2,"search":1,"round":1,"proposal":2,"training":2,"state":"running","cached":0,"created":"2026-11-28T02:50:43.435+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(16,'scores',2,'insert',NULL);
INSERT INTO "journal" VALUES(17,'trials',2,'update','{"id":2,"search":1,"round":1,"proposal":2,"training":2,"state":"trained","cached":0,"created":"2026-11-28T02:50:43.435+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(18,'proposals',3,'insert',NULL);
INSERT INTO "journal" VALUES(19,'trainings',3,'insert',NULL);
INSERT INTO "journal" VALUES(20,'trials',3,'insert',NULL);
INSERT INTO "journal" VALUES(21,'trainings',3,'update','{"id":3,"key":"3267e454cca5","spec":"b8-n1-m1.1.1.1-a0000","base_channel":8,"num_blocks":1,"mult_0":1,"mult_1":1,"mult_2":1,"mult_3":1,"attn_0":0,"attn_1":0,"attn_2":0,"attn_3":0,"family":"ddpm","dataset":"digits","data_fingerprint":"dddddddddddd","strategy_json":"{\"learning_rate\":0.0002,\"dropout\":0.1,\"diffusion_steps\":1000,\"batch_size\":128,\"warmup_steps\":0,\"ema_decay\":0.9999,\"gradient_clip\":1.0,\"train_steps\":600}","settings_json":"{\"dataset\":\"digits\",\"resolution\":8,\"channels\":1,\"family\":\"ddpm\",\"schedule\":\"linear\",\"horizontal_flips\":false}","seed":0,"state":"queued","steps_done":0,"loss":null,"device_seconds":"0.0","error":null,"run_folder":"/runs/b8-n1-m1.1.1.1-a0000-0","macs_paper":1000,"macs_total":1010,"params":500,"created":"2026-11-28T02:50:43.602+00:00","finished":null}');
INSERT INTO "journal" VALUES(22,'trials',3,'update','{"id":3,"search":1,"round":2,"proposal":3,"training":3,"state":"running","cached":0,"created":"2026-11-28T02:50:43.602+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(23,'proposals',4,'insert',NULL);
INSERT INTO "journal" VALUES(24,'proposals',5,'insert',NULL);
INSERT INTO "journal" VALUES(25,'trainings',4,'insert',NULL);
INSERT INTO "journal" VALUES(26,'trials',4,'insert',NULL);
INSERT INTO "journal" VALUES(27,'scores',3,'insert',NULL);
INSERT INTO "journal" VALUES(28,'searches',2,'insert',NULL);
INSERT INTO "journal" VALUES(29,'proposals',6,'insert',NULL);
INSERT INTO "journal" VALUES(30,'trials',5,'insert',NULL);
INSERT INTO "journal" VALUES(31,'trials',5,'update','{"id":5,"search":2,"round":0,"proposal":6,"training":1,"state":"trained","cached":1,"created":"2026-11-28T02:50:43.810+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(32,'ledger',1,'insert',NULL);
INSERT INTO "journal" VALUES(33,'ledger',2,'insert',NULL);
INSERT INTO "journal" VALUES(34,'ledger',3,'insert',NULL);
INSERT INTO "journal" VALUES(35,'messages',1,'insert',NULL);
INSERT INTO "journal" VALUES(36,'model_calls',1,'insert',NULL);
INSERT INTO "journal" VALUES(37,'verdicts',2,'insert',NULL);
INSERT INTO "journal" VALUES(38,'trainings',5,'insert',NULL);
INSERT INTO "journal" VALUES(39,'replicas',1,'insert',NULL);
INSERT INTO "journal" VALUES(40,'scores',4,'insert',NULL);
INSERT INTO "journal" VALUES(41,'replicas',1,'update','{"id":1,"search":1,"trial":1,"training":5,"state":"running","created":"2026-11-28T02:50:44.194+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(42,'trials',4,'update','{"id":4,"search":1,"round":3,"proposal":5,"training":4,"state":"running","cached":0,"created":"2026-11-28T02:50:43.715+00:00","finished":null,"error":null}');
INSERT INTO "journal" VALUES(43,'strategies',1,'insert',NULL);
INSERT INTO "journal" VALUES(44,'directives',1,'insert',NULL);
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
INSERT INTO "ledger" VALUES(1,1,'2026-11-28T02:50:44.003+00:00','train',30.0,0.0,0,0,0.0,'');
INSERT INTO "ledger" VALUES(2,1,'2026-11-28T02:50:44.053+00:00','wall',0.0,40.0,0,0,0.0,'');
INSERT INTO "ledger" VALUES(3,1,'2026-11-28T02:50:44.078+00:00','model',0.0,0.0,100,20,NULL,'');
CREATE TABLE ledger_totals (
        search INTEGER PRIMARY KEY REFERENCES searches (id),
        entries INTEGER NOT NULL,
        priced INTEGER NOT NULL,
        device_seconds REAL NOT NULL,
        wall_seconds REAL NOT NULL,
        input_tokens INTEGER NOT NULL,
        output_tokens INTEGER NOT NULL,
        cost_usd REAL NOT NULL
    ) STRICT
    ;
INSERT INTO "ledger_totals" VALUES(1,3,2,30.0,40.0,100,20,0.0);
CREATE TABLE messages (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        search INTEGER NOT NULL REFERENCES searches (id),
        round INTEGER,
        role TEXT NOT NULL,
        author TEXT NOT NULL,
        text TEXT NOT NULL,
        created TEXT NOT NULL,
        taken TEXT
    , key TEXT) STRICT
    ;
INSERT INTO "messages" VALUES(1,1,1,'user','user','go on','2026-11-21T04:05:06.789+00:00',NULL,NULL);
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
    , extra_json TEXT CHECK (extra_json IS NULL OR json_valid(extra_json))) STRICT
    ;
INSERT INTO "model_calls" VALUES(1,1,1,'propose','offline','{}','{}',NULL,NULL,NULL,NULL,1.5,'2026-11-21T04:05:06.789+00:00',NULL);
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
INSERT INTO "proposals" VALUES(1,1,0,1,'2026-11-28T02:50:43.269+00:00','offline','b16-n1-m1.2.2.2-a0100','b16-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(2,1,1,1,'2026-11-28T02:50:43.434+00:00','offline','b32-n1-m1.2.2.2-a0100','b32-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(3,1,2,1,'2026-11-28T02:50:43.602+00:00','offline','b8-n1-m1.1.1.1-a0000','b8-n1-m1.1.1.1-a0000',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(4,1,3,1,'2026-11-28T02:50:43.684+00:00','offline','{',NULL,0,NULL,'not a spec','malformed');
INSERT INTO "proposals" VALUES(5,1,3,2,'2026-11-28T02:50:43.715+00:00','offline','b16-n2-m1.2.2.2-a0100','b16-n2-m1.2.2.2-a0100',1,'a try',NULL,NULL);
INSERT INTO "proposals" VALUES(6,2,0,1,'2026-11-28T02:50:43.809+00:00','offline','b16-n1-m1.2.2.2-a0100','b16-n1-m1.2.2.2-a0100',1,'a try',NULL,NULL);
CREATE TABLE protocols (
        fingerprint TEXT PRIMARY KEY,
        metric TEXT NOT NULL,
        content_json TEXT NOT NULL CHECK (json_valid(content_json)),
        created TEXT NOT NULL
    ) STRICT
    ;
INSERT INTO "protocols" VALUES('3e369822f270','fid-digits-cnn','{"data_fingerprint":"dddddddddddd","settings":{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false},"strategy":{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600},"score":{"feature_network":"digits-cnn","feature_sha256":"ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff","feature_input_size":8,"resize_filter":"none","grey_to_rgb":"repeat","reference_split":"train","reference_count":1437,"sampler":"ddim","sampling_steps":50,"variance":null,"num_images":1000,"ema":true}}','2026-11-28T02:50:43.238+00:00');
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
INSERT INTO "replicas" VALUES(1,1,1,5,'scored','2026-11-28T02:50:44.194+00:00','2026-11-28T02:50:44.258+00:00',NULL);
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
INSERT INTO "scores" VALUES(1,1,600,'3e369822f270',0,'fid-digits-cnn',4.0,1000,2.0,'{}','2026-11-28T02:50:43.377+00:00');
INSERT INTO "scores" VALUES(2,2,600,'3e369822f270',0,'fid-digits-cnn',3.0,1000,2.0,'{}','2026-11-28T02:50:43.542+00:00');
INSERT INTO "scores" VALUES(3,1,600,'3e369822f270',1,'fid-digits-cnn',5.0,1000,2.0,'{}','2026-11-28T02:50:43.738+00:00');
INSERT INTO "scores" VALUES(4,5,600,'3e369822f270',0,'fid-digits-cnn',4.5,1000,2.0,'{}','2026-11-28T02:50:44.230+00:00');
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
        lease_heartbeat TEXT, kind TEXT NOT NULL DEFAULT 'run',
        CHECK ((lease_token IS NULL) = (lease_heartbeat IS NULL))
    ) STRICT
    ;
INSERT INTO "searches" VALUES(1,'early','running','2026-11-28T02:50:43.238+00:00','2026-11-28T02:50:43.238+00:00',NULL,NULL,1000000,'paper',5,0,'llm','offline','3e369822f270','{}',NULL,NULL,NULL,NULL,NULL,'run');
INSERT INTO "searches" VALUES(2,'late','running','2026-11-28T02:50:43.776+00:00','2026-11-28T02:50:43.776+00:00',NULL,NULL,1000000,'paper',7,0,'llm','offline','3e369822f270','{}',NULL,NULL,NULL,NULL,NULL,'run');
CREATE TABLE standings (
        protocol TEXT NOT NULL REFERENCES protocols (fingerprint),
        search INTEGER NOT NULL REFERENCES searches (id),
        trial INTEGER NOT NULL REFERENCES trials (id),
        rfid REAL,
        base_channel INTEGER NOT NULL, num_blocks INTEGER NOT NULL, mult_0 INTEGER NOT NULL, mult_1 INTEGER NOT NULL, mult_2 INTEGER NOT NULL, mult_3 INTEGER, mult_4 INTEGER, mult_5 INTEGER, attn_0 INTEGER NOT NULL, attn_1 INTEGER NOT NULL, attn_2 INTEGER NOT NULL, attn_3 INTEGER, attn_4 INTEGER, attn_5 INTEGER, seed INTEGER NOT NULL, macs_paper INTEGER NOT NULL, macs_total INTEGER NOT NULL,
        training INTEGER NOT NULL REFERENCES trainings (id),
        state TEXT NOT NULL,
        sampling_seeds INTEGER,
        score_seconds REAL,
        PRIMARY KEY (protocol, search, trial)
    ) STRICT, WITHOUT ROWID
    ;
INSERT INTO "standings" VALUES('3e369822f270',1,1,4.5,16,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,0,1000,1010,1,'scored',2,4.0);
INSERT INTO "standings" VALUES('3e369822f270',1,2,3.0,32,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,0,3000,3010,2,'scored',1,2.0);
INSERT INTO "standings" VALUES('3e369822f270',1,3,NULL,8,1,1,1,1,1,NULL,NULL,0,0,0,0,NULL,NULL,0,1000,1010,3,'failed',NULL,NULL);
INSERT INTO "standings" VALUES('3e369822f270',1,4,NULL,16,2,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,0,1000,1010,4,'pruned',NULL,NULL);
INSERT INTO "standings" VALUES('3e369822f270',2,5,4.5,16,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,0,1000,1010,1,'scored',2,4.0);
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
CREATE TABLE "trainings" (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        key TEXT NOT NULL UNIQUE,
        spec TEXT NOT NULL,
        network TEXT NOT NULL, base_channel INTEGER NOT NULL, num_blocks INTEGER NOT NULL, mult_0 INTEGER NOT NULL, mult_1 INTEGER NOT NULL, mult_2 INTEGER NOT NULL, mult_3 INTEGER, mult_4 INTEGER, mult_5 INTEGER, attn_0 INTEGER NOT NULL, attn_1 INTEGER NOT NULL, attn_2 INTEGER NOT NULL, attn_3 INTEGER, attn_4 INTEGER, attn_5 INTEGER,
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
INSERT INTO "trainings" VALUES(1,'001030b09d2d','b16-n1-m1.2.2.2-a0100','w16.32.32.32-n1-a0100',16,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'done',600,0.1,30.0,NULL,'/runs/b16-n1-m1.2.2.2-a0100-0',1000,1010,500,'2026-11-28T02:50:43.274+00:00','2026-11-28T02:50:43.334+00:00');
INSERT INTO "trainings" VALUES(2,'b31573ff472b','b32-n1-m1.2.2.2-a0100','w32.64.64.64-n1-a0100',32,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'done',600,0.1,30.0,NULL,'/runs/b32-n1-m1.2.2.2-a0100-0',3000,3010,500,'2026-11-28T02:50:43.435+00:00','2026-11-28T02:50:43.497+00:00');
INSERT INTO "trainings" VALUES(3,'3267e454cca5','b8-n1-m1.1.1.1-a0000','w8.8.8.8-n1-a0000',8,1,1,1,1,1,NULL,NULL,0,0,0,0,NULL,NULL,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'failed',0,NULL,1.0,'out of memory','/runs/b8-n1-m1.1.1.1-a0000-0',1000,1010,500,'2026-11-28T02:50:43.602+00:00','2026-11-28T02:50:43.633+00:00');
INSERT INTO "trainings" VALUES(4,'ed9f8be051f7','b16-n2-m1.2.2.2-a0100','w16.32.32.32-n2-a0100',16,2,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',0,'queued',0,NULL,0.0,NULL,'/runs/b16-n2-m1.2.2.2-a0100-0',1000,1010,500,'2026-11-28T02:50:43.715+00:00',NULL);
INSERT INTO "trainings" VALUES(5,'7030c15299db','b16-n1-m1.2.2.2-a0100','w16.32.32.32-n1-a0100',16,1,1,2,2,2,NULL,NULL,0,1,0,0,NULL,NULL,'ddpm','digits','dddddddddddd','{"learning_rate":0.0002,"dropout":0.1,"diffusion_steps":1000,"batch_size":128,"warmup_steps":0,"ema_decay":0.9999,"gradient_clip":1.0,"train_steps":600}','{"dataset":"digits","resolution":8,"channels":1,"family":"ddpm","schedule":"linear","horizontal_flips":false}',7,'queued',0,NULL,0.0,NULL,'/runs/b16-n1-m1.2.2.2-a0100-7',1000,1010,500,'2026-11-28T02:50:44.194+00:00',NULL);
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
INSERT INTO "trials" VALUES(1,1,0,1,1,'scored',0,'2026-11-28T02:50:43.274+00:00','2026-11-28T02:50:43.414+00:00',NULL);
INSERT INTO "trials" VALUES(2,1,1,2,2,'scored',0,'2026-11-28T02:50:43.435+00:00','2026-11-28T02:50:43.574+00:00',NULL);
INSERT INTO "trials" VALUES(3,1,2,3,3,'failed',0,'2026-11-28T02:50:43.602+00:00','2026-11-28T02:50:43.657+00:00','out of memory');
INSERT INTO "trials" VALUES(4,1,3,5,4,'pruned',0,'2026-11-28T02:50:43.715+00:00','2026-11-21T04:05:06.789+00:00','behind');
INSERT INTO "trials" VALUES(5,2,0,6,1,'scored',1,'2026-11-28T02:50:43.810+00:00','2026-11-28T02:50:43.836+00:00',NULL);
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
INSERT INTO "verdicts" VALUES(2,2.0,4.5,'better','better','','',0.1,2,'2026-11-28T02:50:44.152+00:00');
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
CREATE INDEX strategy_measurements_strategy ON strategy_measurements (strategy);
CREATE TRIGGER strategies_no_update BEFORE UPDATE ON strategies BEGIN SELECT RAISE(ABORT, 'strategies is append-only'); END;
CREATE TRIGGER strategies_no_delete BEFORE DELETE ON strategies BEGIN SELECT RAISE(ABORT, 'strategies is append-only'); END;
CREATE TRIGGER strategy_measurements_no_update BEFORE UPDATE ON strategy_measurements BEGIN SELECT RAISE(ABORT, 'strategy_measurements is append-only'); END;
CREATE TRIGGER strategy_measurements_no_delete BEFORE DELETE ON strategy_measurements BEGIN SELECT RAISE(ABORT, 'strategy_measurements is append-only'); END;
CREATE TRIGGER citations_no_update BEFORE UPDATE ON citations BEGIN SELECT RAISE(ABORT, 'citations is append-only'); END;
CREATE TRIGGER citations_no_delete BEFORE DELETE ON citations BEGIN SELECT RAISE(ABORT, 'citations is append-only'); END;
CREATE INDEX journal_row ON journal (place, row);
CREATE TRIGGER journal_citations_insert AFTER INSERT ON citations BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('citations', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_citations_update AFTER UPDATE ON citations BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('citations', OLD.rowid, 'update', json_object('id', OLD.id, 'directive', OLD.directive, 'round', OLD.round, 'what', OLD.what, 'created', OLD.created)); END;
CREATE TRIGGER journal_citations_delete AFTER DELETE ON citations BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('citations', OLD.rowid, 'delete', json_object('id', OLD.id, 'directive', OLD.directive, 'round', OLD.round, 'what', OLD.what, 'created', OLD.created)); END;
CREATE TRIGGER journal_latencies_insert AFTER INSERT ON latencies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('latencies', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_latencies_update AFTER UPDATE ON latencies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('latencies', OLD.rowid, 'update', json_object('id', OLD.id, 'spec', OLD.spec, 'family', OLD.family, 'resolution', OLD.resolution, 'channels', OLD.channels, 'device', OLD.device, 'threads', OLD.threads, 'median_ms', CASE WHEN OLD.median_ms IS NULL THEN NULL ELSE printf('%!.17g', OLD.median_ms) END, 'forwards', OLD.forwards, 'created', OLD.created)); END;
CREATE TRIGGER journal_latencies_delete AFTER DELETE ON latencies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('latencies', OLD.rowid, 'delete', json_object('id', OLD.id, 'spec', OLD.spec, 'family', OLD.family, 'resolution', OLD.resolution, 'channels', OLD.channels, 'device', OLD.device, 'threads', OLD.threads, 'median_ms', CASE WHEN OLD.median_ms IS NULL THEN NULL ELSE printf('%!.17g', OLD.median_ms) END, 'forwards', OLD.forwards, 'created', OLD.created)); END;
CREATE TRIGGER journal_ledger_insert AFTER INSERT ON ledger BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('ledger', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_ledger_update AFTER UPDATE ON ledger BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('ledger', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'created', OLD.created, 'kind', OLD.kind, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'wall_seconds', CASE WHEN OLD.wall_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.wall_seconds) END, 'input_tokens', OLD.input_tokens, 'output_tokens', OLD.output_tokens, 'cost_usd', CASE WHEN OLD.cost_usd IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost_usd) END, 'note', OLD.note)); END;
CREATE TRIGGER journal_ledger_delete AFTER DELETE ON ledger BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('ledger', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'created', OLD.created, 'kind', OLD.kind, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'wall_seconds', CASE WHEN OLD.wall_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.wall_seconds) END, 'input_tokens', OLD.input_tokens, 'output_tokens', OLD.output_tokens, 'cost_usd', CASE WHEN OLD.cost_usd IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost_usd) END, 'note', OLD.note)); END;
CREATE TRIGGER journal_model_calls_insert AFTER INSERT ON model_calls BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('model_calls', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_model_calls_update AFTER UPDATE ON model_calls BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('model_calls', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'purpose', OLD.purpose, 'model', OLD.model, 'request_json', OLD.request_json, 'response_json', OLD.response_json, 'error', OLD.error, 'input_tokens', OLD.input_tokens, 'output_tokens', OLD.output_tokens, 'cost_usd', CASE WHEN OLD.cost_usd IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost_usd) END, 'seconds', CASE WHEN OLD.seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.seconds) END, 'created', OLD.created, 'extra_json', OLD.extra_json)); END;
CREATE TRIGGER journal_model_calls_delete AFTER DELETE ON model_calls BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('model_calls', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'purpose', OLD.purpose, 'model', OLD.model, 'request_json', OLD.request_json, 'response_json', OLD.response_json, 'error', OLD.error, 'input_tokens', OLD.input_tokens, 'output_tokens', OLD.output_tokens, 'cost_usd', CASE WHEN OLD.cost_usd IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost_usd) END, 'seconds', CASE WHEN OLD.seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.seconds) END, 'created', OLD.created, 'extra_json', OLD.extra_json)); END;
CREATE TRIGGER journal_proposals_insert AFTER INSERT ON proposals BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('proposals', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_proposals_update AFTER UPDATE ON proposals BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('proposals', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'attempt', OLD.attempt, 'created', OLD.created, 'proposer', OLD.proposer, 'raw_text', OLD.raw_text, 'spec', OLD.spec, 'accepted', OLD.accepted, 'reason', OLD.reason, 'refusal', OLD.refusal, 'refusal_kind', OLD.refusal_kind)); END;
CREATE TRIGGER journal_proposals_delete AFTER DELETE ON proposals BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('proposals', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'attempt', OLD.attempt, 'created', OLD.created, 'proposer', OLD.proposer, 'raw_text', OLD.raw_text, 'spec', OLD.spec, 'accepted', OLD.accepted, 'reason', OLD.reason, 'refusal', OLD.refusal, 'refusal_kind', OLD.refusal_kind)); END;
CREATE TRIGGER journal_replicas_insert AFTER INSERT ON replicas BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('replicas', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_replicas_update AFTER UPDATE ON replicas BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('replicas', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'trial', OLD.trial, 'training', OLD.training, 'state', OLD.state, 'created', OLD.created, 'finished', OLD.finished, 'error', OLD.error)); END;
CREATE TRIGGER journal_replicas_delete AFTER DELETE ON replicas BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('replicas', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'trial', OLD.trial, 'training', OLD.training, 'state', OLD.state, 'created', OLD.created, 'finished', OLD.finished, 'error', OLD.error)); END;
CREATE TRIGGER journal_scores_insert AFTER INSERT ON scores BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('scores', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_scores_update AFTER UPDATE ON scores BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('scores', OLD.rowid, 'update', json_object('id', OLD.id, 'training', OLD.training, 'step', OLD.step, 'protocol', OLD.protocol, 'sampling_seed', OLD.sampling_seed, 'metric', OLD.metric, 'value', CASE WHEN OLD.value IS NULL THEN NULL ELSE printf('%!.17g', OLD.value) END, 'num_images', OLD.num_images, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'extra_json', OLD.extra_json, 'created', OLD.created)); END;
CREATE TRIGGER journal_scores_delete AFTER DELETE ON scores BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('scores', OLD.rowid, 'delete', json_object('id', OLD.id, 'training', OLD.training, 'step', OLD.step, 'protocol', OLD.protocol, 'sampling_seed', OLD.sampling_seed, 'metric', OLD.metric, 'value', CASE WHEN OLD.value IS NULL THEN NULL ELSE printf('%!.17g', OLD.value) END, 'num_images', OLD.num_images, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'extra_json', OLD.extra_json, 'created', OLD.created)); END;
CREATE TRIGGER journal_strategies_insert AFTER INSERT ON strategies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategies', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_strategies_update AFTER UPDATE ON strategies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategies', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'created', OLD.created, 'proposer', OLD.proposer, 'raw_text', OLD.raw_text, 'reason', OLD.reason, 'strategy_json', OLD.strategy_json, 'fingerprint', OLD.fingerprint, 'cost', CASE WHEN OLD.cost IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost) END)); END;
CREATE TRIGGER journal_strategies_delete AFTER DELETE ON strategies BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategies', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'created', OLD.created, 'proposer', OLD.proposer, 'raw_text', OLD.raw_text, 'reason', OLD.reason, 'strategy_json', OLD.strategy_json, 'fingerprint', OLD.fingerprint, 'cost', CASE WHEN OLD.cost IS NULL THEN NULL ELSE printf('%!.17g', OLD.cost) END)); END;
CREATE TRIGGER journal_strategy_measurements_insert AFTER INSERT ON strategy_measurements BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategy_measurements', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_strategy_measurements_update AFTER UPDATE ON strategy_measurements BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategy_measurements', OLD.rowid, 'update', json_object('id', OLD.id, 'strategy', OLD.strategy, 'created', OLD.created, 'tau', CASE WHEN OLD.tau IS NULL THEN NULL ELSE printf('%!.17g', OLD.tau) END, 'low', CASE WHEN OLD.low IS NULL THEN NULL ELSE printf('%!.17g', OLD.low) END, 'high', CASE WHEN OLD.high IS NULL THEN NULL ELSE printf('%!.17g', OLD.high) END, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'specs', OLD.specs, 'error', OLD.error)); END;
CREATE TRIGGER journal_strategy_measurements_delete AFTER DELETE ON strategy_measurements BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('strategy_measurements', OLD.rowid, 'delete', json_object('id', OLD.id, 'strategy', OLD.strategy, 'created', OLD.created, 'tau', CASE WHEN OLD.tau IS NULL THEN NULL ELSE printf('%!.17g', OLD.tau) END, 'low', CASE WHEN OLD.low IS NULL THEN NULL ELSE printf('%!.17g', OLD.low) END, 'high', CASE WHEN OLD.high IS NULL THEN NULL ELSE printf('%!.17g', OLD.high) END, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'specs', OLD.specs, 'error', OLD.error)); END;
CREATE TRIGGER journal_trials_insert AFTER INSERT ON trials BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trials', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_trials_update AFTER UPDATE ON trials BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trials', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'proposal', OLD.proposal, 'training', OLD.training, 'state', OLD.state, 'cached', OLD.cached, 'created', OLD.created, 'finished', OLD.finished, 'error', OLD.error)); END;
CREATE TRIGGER journal_trials_delete AFTER DELETE ON trials BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trials', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'proposal', OLD.proposal, 'training', OLD.training, 'state', OLD.state, 'cached', OLD.cached, 'created', OLD.created, 'finished', OLD.finished, 'error', OLD.error)); END;
CREATE TRIGGER journal_verdicts_insert AFTER INSERT ON verdicts BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('verdicts', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_verdicts_update AFTER UPDATE ON verdicts BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('verdicts', OLD.rowid, 'update', json_object('trial', OLD.trial, 'ci_low', CASE WHEN OLD.ci_low IS NULL THEN NULL ELSE printf('%!.17g', OLD.ci_low) END, 'ci_high', CASE WHEN OLD.ci_high IS NULL THEN NULL ELSE printf('%!.17g', OLD.ci_high) END, 'baseline', OLD.baseline, 'incumbent', OLD.incumbent, 'why_baseline', OLD.why_baseline, 'why_incumbent', OLD.why_incumbent, 'noise_cv', CASE WHEN OLD.noise_cv IS NULL THEN NULL ELSE printf('%!.17g', OLD.noise_cv) END, 'degrees_of_freedom', OLD.degrees_of_freedom, 'created', OLD.created)); END;
CREATE TRIGGER journal_verdicts_delete AFTER DELETE ON verdicts BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('verdicts', OLD.rowid, 'delete', json_object('trial', OLD.trial, 'ci_low', CASE WHEN OLD.ci_low IS NULL THEN NULL ELSE printf('%!.17g', OLD.ci_low) END, 'ci_high', CASE WHEN OLD.ci_high IS NULL THEN NULL ELSE printf('%!.17g', OLD.ci_high) END, 'baseline', OLD.baseline, 'incumbent', OLD.incumbent, 'why_baseline', OLD.why_baseline, 'why_incumbent', OLD.why_incumbent, 'noise_cv', CASE WHEN OLD.noise_cv IS NULL THEN NULL ELSE printf('%!.17g', OLD.noise_cv) END, 'degrees_of_freedom', OLD.degrees_of_freedom, 'created', OLD.created)); END;
CREATE INDEX backend_checks_backend ON backend_checks (llm, base_url);
CREATE UNIQUE INDEX messages_key ON messages (search, key);
CREATE TRIGGER journal_messages_insert AFTER INSERT ON messages BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('messages', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_messages_update AFTER UPDATE ON messages BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('messages', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'role', OLD.role, 'author', OLD.author, 'text', OLD.text, 'created', OLD.created, 'taken', OLD.taken, 'key', OLD.key)); END;
CREATE TRIGGER journal_messages_delete AFTER DELETE ON messages BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('messages', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'round', OLD.round, 'role', OLD.role, 'author', OLD.author, 'text', OLD.text, 'created', OLD.created, 'taken', OLD.taken, 'key', OLD.key)); END;
CREATE TRIGGER journal_searches_insert AFTER INSERT ON searches BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('searches', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_searches_update AFTER UPDATE OF rounds, backend, budget_macs, count_convention ON searches BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('searches', OLD.rowid, 'update', json_object('id', OLD.id, 'name', OLD.name, 'state', OLD.state, 'created', OLD.created, 'updated', OLD.updated, 'finished', OLD.finished, 'reason', OLD.reason, 'budget_macs', OLD.budget_macs, 'count_convention', OLD.count_convention, 'rounds', OLD.rounds, 'seed', OLD.seed, 'searcher', OLD.searcher, 'backend', OLD.backend, 'protocol', OLD.protocol, 'config_json', OLD.config_json, 'lease_token', OLD.lease_token, 'lease_host', OLD.lease_host, 'lease_pid', OLD.lease_pid, 'lease_pid_start', OLD.lease_pid_start, 'lease_heartbeat', OLD.lease_heartbeat, 'kind', OLD.kind)); END;
CREATE TRIGGER journal_searches_delete AFTER DELETE ON searches BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('searches', OLD.rowid, 'delete', json_object('id', OLD.id, 'name', OLD.name, 'state', OLD.state, 'created', OLD.created, 'updated', OLD.updated, 'finished', OLD.finished, 'reason', OLD.reason, 'budget_macs', OLD.budget_macs, 'count_convention', OLD.count_convention, 'rounds', OLD.rounds, 'seed', OLD.seed, 'searcher', OLD.searcher, 'backend', OLD.backend, 'protocol', OLD.protocol, 'config_json', OLD.config_json, 'lease_token', OLD.lease_token, 'lease_host', OLD.lease_host, 'lease_pid', OLD.lease_pid, 'lease_pid_start', OLD.lease_pid_start, 'lease_heartbeat', OLD.lease_heartbeat, 'kind', OLD.kind)); END;
CREATE INDEX trials_state ON trials (search, state, training);
CREATE INDEX trials_without_score ON trials (search, coalesce(finished, created), proposal) WHERE state IN ('failed', 'pruned');
CREATE INDEX proposals_refused ON proposals (search, created) WHERE accepted = 0;
CREATE INDEX trainings_network ON trainings (network);
CREATE INDEX trainings_named ON trainings (id, spec);
CREATE TRIGGER journal_trainings_insert AFTER INSERT ON trainings BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trainings', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_trainings_update AFTER UPDATE ON trainings BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trainings', OLD.rowid, 'update', json_object('id', OLD.id, 'key', OLD.key, 'spec', OLD.spec, 'network', OLD.network, 'base_channel', OLD.base_channel, 'num_blocks', OLD.num_blocks, 'mult_0', OLD.mult_0, 'mult_1', OLD.mult_1, 'mult_2', OLD.mult_2, 'mult_3', OLD.mult_3, 'mult_4', OLD.mult_4, 'mult_5', OLD.mult_5, 'attn_0', OLD.attn_0, 'attn_1', OLD.attn_1, 'attn_2', OLD.attn_2, 'attn_3', OLD.attn_3, 'attn_4', OLD.attn_4, 'attn_5', OLD.attn_5, 'family', OLD.family, 'dataset', OLD.dataset, 'data_fingerprint', OLD.data_fingerprint, 'strategy_json', OLD.strategy_json, 'settings_json', OLD.settings_json, 'seed', OLD.seed, 'state', OLD.state, 'steps_done', OLD.steps_done, 'loss', CASE WHEN OLD.loss IS NULL THEN NULL ELSE printf('%!.17g', OLD.loss) END, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'error', OLD.error, 'run_folder', OLD.run_folder, 'macs_paper', OLD.macs_paper, 'macs_total', OLD.macs_total, 'params', OLD.params, 'created', OLD.created, 'finished', OLD.finished)); END;
CREATE TRIGGER journal_trainings_delete AFTER DELETE ON trainings BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('trainings', OLD.rowid, 'delete', json_object('id', OLD.id, 'key', OLD.key, 'spec', OLD.spec, 'network', OLD.network, 'base_channel', OLD.base_channel, 'num_blocks', OLD.num_blocks, 'mult_0', OLD.mult_0, 'mult_1', OLD.mult_1, 'mult_2', OLD.mult_2, 'mult_3', OLD.mult_3, 'mult_4', OLD.mult_4, 'mult_5', OLD.mult_5, 'attn_0', OLD.attn_0, 'attn_1', OLD.attn_1, 'attn_2', OLD.attn_2, 'attn_3', OLD.attn_3, 'attn_4', OLD.attn_4, 'attn_5', OLD.attn_5, 'family', OLD.family, 'dataset', OLD.dataset, 'data_fingerprint', OLD.data_fingerprint, 'strategy_json', OLD.strategy_json, 'settings_json', OLD.settings_json, 'seed', OLD.seed, 'state', OLD.state, 'steps_done', OLD.steps_done, 'loss', CASE WHEN OLD.loss IS NULL THEN NULL ELSE printf('%!.17g', OLD.loss) END, 'device_seconds', CASE WHEN OLD.device_seconds IS NULL THEN NULL ELSE printf('%!.17g', OLD.device_seconds) END, 'error', OLD.error, 'run_folder', OLD.run_folder, 'macs_paper', OLD.macs_paper, 'macs_total', OLD.macs_total, 'params', OLD.params, 'created', OLD.created, 'finished', OLD.finished)); END;
CREATE INDEX standings_trial ON standings (trial);
CREATE INDEX standings_training ON standings (training, protocol, state);
CREATE INDEX standings_best ON standings (protocol, search, rfid, trial, macs_paper, macs_total) WHERE rfid IS NOT NULL;
CREATE INDEX standings_top ON standings (protocol, rfid, trial) WHERE rfid IS NOT NULL;
CREATE TRIGGER derived_trial_insert AFTER INSERT ON trials BEGIN 
    INSERT INTO standings
    SELECT shown.protocol, trials.search, trials.id, avg(scores.value),
        trainings.base_channel, trainings.num_blocks, trainings.mult_0, trainings.mult_1, trainings.mult_2, trainings.mult_3, trainings.mult_4, trainings.mult_5, trainings.attn_0, trainings.attn_1, trainings.attn_2, trainings.attn_3, trainings.attn_4, trainings.attn_5, trainings.seed, trainings.macs_paper, trainings.macs_total, trials.training, trials.state,
        CASE WHEN count(scores.id) THEN count(scores.value) END, sum(scores.device_seconds)
    FROM (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search WHERE trials.id = NEW.id
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training WHERE trials.id = NEW.id
    ) AS shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN scores ON scores.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR shown.protocol <> searches.protocol)
        AND scores.protocol = shown.protocol
        AND scores.metric = protocols.metric
        AND scores.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = shown.protocol AND metric = protocols.metric
        )
    GROUP BY shown.trial, shown.protocol
    ; END;
CREATE TRIGGER derived_trial_update AFTER UPDATE OF state ON trials BEGIN DELETE FROM standings WHERE trial = NEW.id; 
    INSERT INTO standings
    SELECT shown.protocol, trials.search, trials.id, avg(scores.value),
        trainings.base_channel, trainings.num_blocks, trainings.mult_0, trainings.mult_1, trainings.mult_2, trainings.mult_3, trainings.mult_4, trainings.mult_5, trainings.attn_0, trainings.attn_1, trainings.attn_2, trainings.attn_3, trainings.attn_4, trainings.attn_5, trainings.seed, trainings.macs_paper, trainings.macs_total, trials.training, trials.state,
        CASE WHEN count(scores.id) THEN count(scores.value) END, sum(scores.device_seconds)
    FROM (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search WHERE trials.id = NEW.id
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training WHERE trials.id = NEW.id
    ) AS shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN scores ON scores.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR shown.protocol <> searches.protocol)
        AND scores.protocol = shown.protocol
        AND scores.metric = protocols.metric
        AND scores.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = shown.protocol AND metric = protocols.metric
        )
    GROUP BY shown.trial, shown.protocol
    ; END;
CREATE TRIGGER derived_trial_delete AFTER DELETE ON trials BEGIN DELETE FROM standings WHERE trial = OLD.id; END;
CREATE TRIGGER derived_score_insert AFTER INSERT ON scores BEGIN DELETE FROM standings WHERE training = NEW.training; 
    INSERT INTO standings
    SELECT shown.protocol, trials.search, trials.id, avg(scores.value),
        trainings.base_channel, trainings.num_blocks, trainings.mult_0, trainings.mult_1, trainings.mult_2, trainings.mult_3, trainings.mult_4, trainings.mult_5, trainings.attn_0, trainings.attn_1, trainings.attn_2, trainings.attn_3, trainings.attn_4, trainings.attn_5, trainings.seed, trainings.macs_paper, trainings.macs_total, trials.training, trials.state,
        CASE WHEN count(scores.id) THEN count(scores.value) END, sum(scores.device_seconds)
    FROM (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search WHERE trials.training = NEW.training
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training WHERE trials.training = NEW.training
    ) AS shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN scores ON scores.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR shown.protocol <> searches.protocol)
        AND scores.protocol = shown.protocol
        AND scores.metric = protocols.metric
        AND scores.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = shown.protocol AND metric = protocols.metric
        )
    GROUP BY shown.trial, shown.protocol
    ; END;
CREATE TRIGGER derived_score_delete AFTER DELETE ON scores BEGIN DELETE FROM standings WHERE training = OLD.training; 
    INSERT INTO standings
    SELECT shown.protocol, trials.search, trials.id, avg(scores.value),
        trainings.base_channel, trainings.num_blocks, trainings.mult_0, trainings.mult_1, trainings.mult_2, trainings.mult_3, trainings.mult_4, trainings.mult_5, trainings.attn_0, trainings.attn_1, trainings.attn_2, trainings.attn_3, trainings.attn_4, trainings.attn_5, trainings.seed, trainings.macs_paper, trainings.macs_total, trials.training, trials.state,
        CASE WHEN count(scores.id) THEN count(scores.value) END, sum(scores.device_seconds)
    FROM (
        SELECT trials.id AS trial, searches.protocol AS protocol
        FROM trials JOIN searches ON searches.id = trials.search WHERE trials.training = OLD.training
        UNION
        SELECT trials.id, scores.protocol FROM trials JOIN scores ON scores.training = trials.training WHERE trials.training = OLD.training
    ) AS shown
    JOIN trials ON trials.id = shown.trial
    JOIN searches ON searches.id = trials.search
    JOIN trainings ON trainings.id = trials.training
    JOIN protocols ON protocols.fingerprint = shown.protocol
    LEFT JOIN scores ON scores.training = trials.training
        AND trials.state <> 'failed' AND (trials.state <> 'pruned' OR shown.protocol <> searches.protocol)
        AND scores.protocol = shown.protocol
        AND scores.metric = protocols.metric
        AND scores.step = (
            SELECT max(step) FROM scores
            WHERE training = trials.training AND protocol = shown.protocol AND metric = protocols.metric
        )
    GROUP BY shown.trial, shown.protocol
    ; END;
CREATE TRIGGER derived_ledger_insert AFTER INSERT ON ledger BEGIN 
    INSERT INTO ledger_totals
    SELECT search, count(*), count(cost_usd), sum(device_seconds),
        coalesce(sum(wall_seconds) FILTER (WHERE kind = 'wall'), 0.0), sum(input_tokens), sum(output_tokens),
        coalesce(sum(cost_usd), 0.0)
    FROM ledger WHERE id = NEW.id GROUP BY search
    ON CONFLICT (search) DO UPDATE SET
        entries = entries + excluded.entries, priced = priced + excluded.priced, device_seconds = device_seconds + excluded.device_seconds, wall_seconds = wall_seconds + excluded.wall_seconds, input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, cost_usd = cost_usd + excluded.cost_usd
    ; END;
CREATE TRIGGER derived_ledger_delete AFTER DELETE ON ledger BEGIN DELETE FROM ledger_totals WHERE search = OLD.search; 
    INSERT INTO ledger_totals
    SELECT search, count(*), count(cost_usd), sum(device_seconds),
        coalesce(sum(wall_seconds) FILTER (WHERE kind = 'wall'), 0.0), sum(input_tokens), sum(output_tokens),
        coalesce(sum(cost_usd), 0.0)
    FROM ledger WHERE search = OLD.search GROUP BY search
    ON CONFLICT (search) DO UPDATE SET
        entries = entries + excluded.entries, priced = priced + excluded.priced, device_seconds = device_seconds + excluded.device_seconds, wall_seconds = wall_seconds + excluded.wall_seconds, input_tokens = input_tokens + excluded.input_tokens, output_tokens = output_tokens + excluded.output_tokens, cost_usd = cost_usd + excluded.cost_usd
    ; END;
CREATE VIEW all_results AS
    SELECT
        standings.trial AS trial, standings.search AS search, searches.name AS search_name, trials.round AS round,
        trainings.spec AS spec, trainings.network AS network, standings.base_channel AS base_channel, standings.num_blocks AS num_blocks, standings.mult_0 AS mult_0, standings.mult_1 AS mult_1, standings.mult_2 AS mult_2, standings.mult_3 AS mult_3, standings.mult_4 AS mult_4, standings.mult_5 AS mult_5, standings.attn_0 AS attn_0, standings.attn_1 AS attn_1, standings.attn_2 AS attn_2, standings.attn_3 AS attn_3, standings.attn_4 AS attn_4, standings.attn_5 AS attn_5, standings.base_channel * standings.mult_0 AS width_0, standings.base_channel * standings.mult_1 AS width_1, standings.base_channel * standings.mult_2 AS width_2, standings.base_channel * standings.mult_3 AS width_3, standings.base_channel * standings.mult_4 AS width_4, standings.base_channel * standings.mult_5 AS width_5,
        standings.macs_paper AS macs_paper, standings.macs_total AS macs_total, trainings.params AS params,
        standings.rfid AS rfid, protocols.metric AS metric, standings.protocol AS protocol,
        standings.state AS state, proposals.proposer AS proposer, proposals.reason AS reason, trials.cached AS cached,
        standings.seed AS seed, trainings.loss AS loss, trainings.steps_done AS steps_done,
        trainings.device_seconds AS device_seconds, standings.score_seconds AS score_seconds,
        standings.sampling_seeds AS sampling_seeds, trials.error AS error, trials.created AS created,
        trials.finished AS finished, trainings.family AS family, trainings.dataset AS dataset,
        standings.training AS training, trials.proposal AS proposal,
        verdicts.ci_low AS ci_low, verdicts.ci_high AS ci_high, verdicts.baseline AS versus_baseline,
        verdicts.incumbent AS versus_incumbent,
        coalesce(json_extract(searches.config_json, '$.train'), 'rapid') AS train,
        standings.protocol = searches.protocol AS own_protocol
    FROM standings
    JOIN trials ON trials.id = standings.trial
    JOIN searches ON searches.id = standings.search
    JOIN proposals ON proposals.id = trials.proposal
    JOIN trainings ON trainings.id = standings.training
    JOIN protocols ON protocols.fingerprint = standings.protocol
    LEFT JOIN verdicts ON verdicts.trial = standings.trial AND standings.protocol = searches.protocol;
CREATE VIEW results AS SELECT * FROM all_results WHERE own_protocol;
CREATE TRIGGER journal_directives_insert AFTER INSERT ON directives BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('directives', NEW.rowid, 'insert', NULL); END;
CREATE TRIGGER journal_directives_update AFTER UPDATE ON directives BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('directives', OLD.rowid, 'update', json_object('id', OLD.id, 'search', OLD.search, 'kind', OLD.kind, 'arguments_json', OLD.arguments_json, 'text', OLD.text, 'author', OLD.author, 'state', OLD.state, 'created', OLD.created, 'seen_round', OLD.seen_round, 'ended', OLD.ended, 'key', OLD.key, 'replaced_by', OLD.replaced_by)); END;
CREATE TRIGGER journal_directives_delete AFTER DELETE ON directives BEGIN INSERT INTO journal (place, row, change, before_json) VALUES ('directives', OLD.rowid, 'delete', json_object('id', OLD.id, 'search', OLD.search, 'kind', OLD.kind, 'arguments_json', OLD.arguments_json, 'text', OLD.text, 'author', OLD.author, 'state', OLD.state, 'created', OLD.created, 'seen_round', OLD.seen_round, 'ended', OLD.ended, 'key', OLD.key, 'replaced_by', OLD.replaced_by)); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('trials',5);
INSERT INTO "sqlite_sequence" VALUES('journal',44);
INSERT INTO "sqlite_sequence" VALUES('searches',2);
INSERT INTO "sqlite_sequence" VALUES('proposals',6);
INSERT INTO "sqlite_sequence" VALUES('scores',4);
INSERT INTO "sqlite_sequence" VALUES('ledger',3);
INSERT INTO "sqlite_sequence" VALUES('messages',1);
INSERT INTO "sqlite_sequence" VALUES('model_calls',1);
INSERT INTO "sqlite_sequence" VALUES('replicas',1);
INSERT INTO "sqlite_sequence" VALUES('strategies',1);
INSERT INTO "sqlite_sequence" VALUES('directives',1);
INSERT INTO "sqlite_sequence" VALUES('backend_checks',1);
INSERT INTO "sqlite_sequence" VALUES('trainings',5);
COMMIT;
