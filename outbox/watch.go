package outbox

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Watched is a table of the producer's whose changes are written into the outbox by triggers.
type Watched struct {
	Table      string // may be named with its schema
	ObjectType string // conversation, customer, customer_note or account
	Company    string // the column of the company's id; or a text in single quotes, for a table of one company
	ID         string // the column of the object's id
	// Columns are the names in the document, each the name of its column, or name=column. On Postgres none
	// stand for all; on MariaDB they must be named. The document has to have an id.
	Columns []string
}

var (
	identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]{0,62}$`)
	constant   = regexp.MustCompile(`^'[A-Za-z0-9_:-]{1,64}'$`)
)

// check refuses what could not stand in a statement as it is.
func (w *Watched) check(d Dialect) error {
	for part := range strings.SplitSeq(w.Table, ".") {
		if !identifier.MatchString(part) {
			return fmt.Errorf("table: %q is not the name of a table", w.Table)
		}
	}
	if !constant.MatchString(w.Company) && !identifier.MatchString(w.Company) {
		return fmt.Errorf("company: %q is neither the name of a column nor an id in single quotes", w.Company)
	}
	if !identifier.MatchString(w.ID) {
		return fmt.Errorf("id: %q is not the name of a column", w.ID)
	}
	switch w.ObjectType {
	case "conversation", "customer", "customer_note", "account":
	default:
		return fmt.Errorf("object: %q is not conversation, customer, customer_note or account", w.ObjectType)
	}
	hasID := len(w.Columns) == 0 && w.ID == "id"
	for _, c := range w.Columns {
		name, column := split(c)
		if !identifier.MatchString(name) || !identifier.MatchString(column) {
			return fmt.Errorf("columns: %q is neither the name of a column nor name=column", c)
		}
		hasID = hasID || name == "id"
	}
	switch {
	case len(w.Columns) == 0 && d == MariaDB:
		return errors.New("columns: MariaDB has no document of a whole row; name the columns, as id,name,status")
	case !hasID:
		return fmt.Errorf("columns: the document has no id; name the columns, with id=%s among them", w.ID)
	}
	return nil
}

func split(c string) (name, column string) {
	name, column, aliased := strings.Cut(c, "=")
	if !aliased {
		column = name
	}
	return name, column
}

// Watch returns the statements that make the triggers of a table. They may be run again.
func Watch(d Dialect, w Watched) (string, error) {
	if err := w.check(d); err != nil {
		return "", err
	}
	if d == MariaDB {
		return w.mariadb(), nil
	}
	return w.postgres(), nil
}

// name is that of what belongs to the table.
func (w *Watched) name() string { return "atlas_webhooks_" + strings.ReplaceAll(w.Table, ".", "_") }

// of is a column of a row, or the company that is the same for all.
func (w *Watched) of(row, column string, quote string) string {
	if strings.HasPrefix(column, "'") {
		return column
	}
	return row + "." + quote + column + quote
}

// postgres makes statement triggers with transition tables. Row triggers would be silent when an UPDATE moves a
// row to another partition, and cost a call for each row.
func (w *Watched) postgres() string {
	document := func(row string) string {
		if len(w.Columns) == 0 {
			return "row_to_json(" + row + ")"
		}
		var list []string
		for _, c := range w.Columns {
			name, column := split(c)
			list = append(list, fmt.Sprintf(`%s.%q AS %q`, row, column, name))
		}
		return "(SELECT row_to_json(d) FROM (SELECT " + strings.Join(list, ", ") + ") d)"
	}
	var parts []string
	for part := range strings.SplitSeq(w.Table, ".") {
		parts = append(parts, `"`+part+`"`)
	}
	same := fmt.Sprintf(`o.%[1]q = n.%[1]q`, w.ID)
	if !strings.HasPrefix(w.Company, "'") {
		same += fmt.Sprintf(` AND o.%[1]q = n.%[1]q`, w.Company)
	}
	return strings.NewReplacer(
		"{name}", w.name(), "{table}", strings.Join(parts, "."), "{type}", w.ObjectType, "{same}", same,
		"{oldcompany}", w.of("o", w.Company, `"`), "{newcompany}", w.of("n", w.Company, `"`), "{oldid}", w.of("o", w.ID, `"`), "{newid}", w.of("n", w.ID, `"`),
		"{olddoc}", document("o"), "{newdoc}", document("n"),
	).Replace(postgresWatch)
}

// Within a TRUNCATE trigger the table is still full, and nobody else is in it; it fires for each partition, too. A partition that is named itself
// in a statement fires its own triggers and not those of the table above it.
const postgresWatch = `
-- Changes of {table}, and of its partitions where it has some (run this again for those that are added later).
CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $watch$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, after_data)
        SELECT {newcompany}, '{type}', {newid}::text, {newdoc} FROM new_rows n;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, before_data)
        SELECT {oldcompany}, '{type}', {oldid}::text, {olddoc} FROM old_rows o;
    ELSIF TG_OP = 'TRUNCATE' THEN
        EXECUTE format($q$INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, before_data)
        SELECT {oldcompany}, '{type}', {oldid}::text, {olddoc} FROM ONLY %s o$q$, TG_RELID::regclass);
    ELSE -- a row whose id or company changes is one object that goes, and another that comes
        INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, before_data, after_data)
        SELECT coalesce(c.new_company, c.old_company), '{type}', coalesce(c.new_id, c.old_id), c.before, c.after
        FROM (SELECT CASE WHEN {oldid} IS NOT NULL THEN {oldcompany} END AS old_company, CASE WHEN {newid} IS NOT NULL THEN {newcompany} END AS new_company,
                {oldid}::text AS old_id, {newid}::text AS new_id,
                CASE WHEN {oldid} IS NOT NULL THEN {olddoc} END AS before, CASE WHEN {newid} IS NOT NULL THEN {newdoc} END AS after
            FROM old_rows o FULL JOIN new_rows n ON {same}) c
        WHERE c.before::text IS DISTINCT FROM c.after::text
        ORDER BY c.after IS NOT NULL;
    END IF;
    RETURN NULL;
END
$watch$;

DO $do$
DECLARE
    part regclass;
BEGIN
    FOR part IN SELECT '{table}'::regclass UNION SELECT relid FROM pg_partition_tree('{table}'::regclass) LOOP
        EXECUTE format('DROP TRIGGER IF EXISTS {name}_insert ON %s', part);
        EXECUTE format('DROP TRIGGER IF EXISTS {name}_update ON %s', part);
        EXECUTE format('DROP TRIGGER IF EXISTS {name}_delete ON %s', part);
        EXECUTE format('DROP TRIGGER IF EXISTS {name}_truncate ON %s', part);
        EXECUTE format('CREATE TRIGGER {name}_insert AFTER INSERT ON %s REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {name}()', part);
        EXECUTE format('CREATE TRIGGER {name}_update AFTER UPDATE ON %s REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION {name}()', part);
        EXECUTE format('CREATE TRIGGER {name}_delete AFTER DELETE ON %s REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION {name}()', part);
        EXECUTE format('CREATE TRIGGER {name}_truncate BEFORE TRUNCATE ON %s FOR EACH STATEMENT EXECUTE FUNCTION {name}()', part);
    END LOOP;
END
$do$;
`

// mariadb makes AFTER triggers of one statement each, for which no DELIMITER is needed: a BEFORE INSERT trigger
// fires for rows that INSERT IGNORE then leaves out.
func (w *Watched) mariadb() string {
	document := func(row string) string {
		var list []string
		for _, c := range w.Columns {
			name, column := split(c)
			list = append(list, fmt.Sprintf("'%s', %s.`%s`", name, row, column))
		}
		return "JSON_OBJECT(" + strings.Join(list, ", ") + ")"
	}
	var parts []string
	for part := range strings.SplitSeq(w.Table, ".") {
		parts = append(parts, "`"+part+"`")
	}
	same := fmt.Sprintf("OLD.`%[1]s` <=> NEW.`%[1]s`", w.ID)
	if !strings.HasPrefix(w.Company, "'") {
		same += fmt.Sprintf(" AND OLD.`%[1]s` <=> NEW.`%[1]s`", w.Company)
	}
	// A trigger is in the schema of its table.
	name := w.name()
	if i := strings.LastIndexByte(w.Table, '.'); i >= 0 {
		name = w.Table[:i+1] + name
	}
	return strings.NewReplacer(
		"{name}", name, "{table}", strings.Join(parts, "."), "{type}", w.ObjectType, "{same}", same,
		"{oldcompany}", w.of("OLD", w.Company, "`"), "{newcompany}", w.of("NEW", w.Company, "`"), "{oldid}", w.of("OLD", w.ID, "`"), "{newid}", w.of("NEW", w.ID, "`"),
		"{olddoc}", document("OLD"), "{newdoc}", document("NEW"),
	).Replace(mariadbWatch)
}

const mariadbWatch = `
-- Changes of {table}. Foreign keys with CASCADE or SET NULL change rows, and TRUNCATE removes them, without firing triggers.
DROP TRIGGER IF EXISTS {name}_insert;
CREATE TRIGGER {name}_insert AFTER INSERT ON {table} FOR EACH ROW
    INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, after_data)
    VALUES ({newcompany}, '{type}', {newid}, {newdoc});

DROP TRIGGER IF EXISTS {name}_delete;
CREATE TRIGGER {name}_delete AFTER DELETE ON {table} FOR EACH ROW
    INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, before_data)
    VALUES ({oldcompany}, '{type}', {oldid}, {olddoc});

-- A row whose id or company changes is one object that goes, and another that comes.
DROP TRIGGER IF EXISTS {name}_update;
CREATE TRIGGER {name}_update AFTER UPDATE ON {table} FOR EACH ROW
    INSERT INTO atlas_webhooks_outbox (company_id, object_type, object_id, before_data, after_data)
    SELECT {oldcompany}, '{type}', {oldid}, {olddoc}, NULL FROM DUAL WHERE NOT ({same})
    UNION ALL
    SELECT {newcompany}, '{type}', {newid}, IF({same}, {olddoc}, NULL), {newdoc} FROM DUAL WHERE NOT ({same} AND {olddoc} <=> {newdoc});
`
