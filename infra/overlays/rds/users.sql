-- The database and its users on Amazon RDS (docs/rds.md), run by psql as the instance's master user in the pod of the
-- database that is moved away from, which has the passwords as files. The rights are those of
-- infra/deployment/db/4-db-stateful-set.yaml; what is AWS's (template1, rdsadmin) stays as AWS has it.
\set ON_ERROR_STOP on
\set owner `cat /run/secrets/database/OWNER_PASSWORD`
\set api_a `cat /run/secrets/database/API_A_PASSWORD`
\set api_b `cat /run/secrets/database/API_B_PASSWORD`
\set metrics `cat /run/secrets/database/METRICS_PASSWORD`
-- Sorting that does not change with the server's C library, and so breaks no index. RDS's own is another.
CREATE DATABASE comanda TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8';
\connect comanda
BEGIN;
CREATE ROLE comanda_app NOLOGIN;
CREATE ROLE comanda_owner LOGIN PASSWORD :'owner' CONNECTION LIMIT 20;
CREATE ROLE comanda_api_a LOGIN PASSWORD :'api_a' IN ROLE comanda_app;
CREATE ROLE comanda_api_b LOGIN PASSWORD :'api_b' IN ROLE comanda_app;
CREATE ROLE comanda_metrics LOGIN PASSWORD :'metrics' CONNECTION LIMIT 5 IN ROLE pg_monitor;
REVOKE ALL ON DATABASE comanda, postgres FROM PUBLIC;
GRANT CONNECT ON DATABASE comanda TO comanda_app, comanda_metrics;
GRANT CONNECT ON DATABASE postgres TO comanda_metrics;
CREATE EXTENSION pg_stat_statements;
-- The master user is no superuser: to give something to the owner it must be a member of it for a moment.
GRANT comanda_owner TO CURRENT_USER;
ALTER DATABASE comanda OWNER TO comanda_owner;
ALTER SCHEMA public OWNER TO comanda_owner;
REVOKE comanda_owner FROM CURRENT_USER;
COMMIT;
