package hook

// The schemas of the built-in topics say what their documents hold where it is there at all: only the object's
// id is demanded. Any member may be null, which is the same as absent, and there may always be more of them.
// Whether an event was published as such or derived from a change, its document is one of these: the samples'
// forms, or the object itself.
const (
	schemaHead = `{"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object", "required": ["id"], "properties": {` +
		`"id": {"type": ["string", "number"], "description": "The object's id, the same in all its events."}, `
	schemaTail = `}, "$defs": {` +
		`"time": {"type": ["string", "null"], "format": "date-time"}, ` +
		`"text": {"type": ["string", "null"]}, ` +
		`"id": {"type": ["string", "number", "null"]}, ` +
		`"party": {"type": ["object", "string", "number", "null"], "properties": {"id": {"type": ["string", "number"]}, "name": {"$ref": "#/$defs/text"}}}, ` +
		`"fields": {"type": ["object", "null"], "description": "Values by the names of the fields."}, ` +
		`"names": {"type": ["array", "null"], "items": {"type": "string"}}, ` +
		`"tags": {"type": ["array", "null"], "items": {"type": ["string", "object", "number"]}}, ` +
		`"ids": {"type": ["array", "null"], "items": {"type": ["string", "number", "object"]}}}}`

	conversationMembers = `"number": {"type": ["integer", "string", "null"], "description": "The number that people see."}, ` +
		`"subject": {"$ref": "#/$defs/text"}, "status": {"$ref": "#/$defs/text"}, "priority": {"type": ["string", "number", "null"]}, ` +
		`"channel": {"$ref": "#/$defs/text"}, "customer_id": {"$ref": "#/$defs/id"}, "assigned_agent_id": {"$ref": "#/$defs/id"}, ` +
		`"assigned_agent": {"$ref": "#/$defs/party"}, "tags": {"$ref": "#/$defs/tags"}, "custom_fields": {"$ref": "#/$defs/fields"}, ` +
		`"message_count": {"type": ["integer", "null"], "minimum": 0}, ` +
		`"started_at": {"$ref": "#/$defs/time"}, "updated_at": {"$ref": "#/$defs/time"}, "changed_at": {"$ref": "#/$defs/time"}`

	customerMembers = `"external_id": {"$ref": "#/$defs/id"}, "anonymous_id": {"$ref": "#/$defs/id"}, "name": {"$ref": "#/$defs/text"}, ` +
		`"email": {"$ref": "#/$defs/text"}, "phone_number": {"type": ["string", "number", "null"]}, "locale": {"$ref": "#/$defs/text"}, ` +
		`"account_ids": {"$ref": "#/$defs/ids"}, "custom_fields": {"$ref": "#/$defs/fields"}, "source": {"$ref": "#/$defs/text"}, ` +
		`"created_at": {"$ref": "#/$defs/time"}, "updated_at": {"$ref": "#/$defs/time"}`

	accountMembers = `"account": {"$ref": "#/$defs/party"}, "account_id": {"$ref": "#/$defs/id"}, "customer": {"$ref": "#/$defs/party"}, ` +
		`"customer_id": {"$ref": "#/$defs/id"}, "customer_ids": {"$ref": "#/$defs/ids", "description": "The customers, where an account's list of them changed."}`

	noteMembers = `"object_type": {"$ref": "#/$defs/text"}, "object_id": {"$ref": "#/$defs/id"}, "text": {"$ref": "#/$defs/text"}, ` +
		`"creator": {"$ref": "#/$defs/party"}, "edited": {"type": ["boolean", "null"]}, ` +
		`"created_at": {"$ref": "#/$defs/time"}, "updated_at": {"$ref": "#/$defs/time"}`
)

// Schemas of the built-in topics.
const (
	linkedSchema      = schemaHead + accountMembers + `, "linked_at": {"$ref": "#/$defs/time"}, "linked_by": {"$ref": "#/$defs/text"}` + schemaTail
	unlinkedSchema    = schemaHead + accountMembers + `, "unlinked_at": {"$ref": "#/$defs/time"}, "unlinked_by": {"$ref": "#/$defs/text"}` + schemaTail
	conversationFull  = schemaHead + conversationMembers + schemaTail
	agentSchema       = schemaHead + conversationMembers + `, "previous_agent": {"$ref": "#/$defs/party"}` + schemaTail
	tagsSchema        = schemaHead + conversationMembers + `, "added": {"$ref": "#/$defs/tags"}, "removed": {"$ref": "#/$defs/tags"}` + schemaTail
	customFieldSchema = schemaHead + conversationMembers + `, "changed": {"type": ["string", "array", "null"], "description": "The field's name."}, ` +
		`"previous_value": {"description": "Any value; null for none."}` + schemaTail
	statusSchema         = schemaHead + conversationMembers + `, "previous_status": {"$ref": "#/$defs/text"}, "closed_by": {"$ref": "#/$defs/party"}` + schemaTail
	prioritySchema       = schemaHead + conversationMembers + `, "previous_priority": {"type": ["string", "number", "null"]}, "changed_by": {"$ref": "#/$defs/party"}` + schemaTail
	customerFull         = schemaHead + customerMembers + schemaTail
	identifySchema       = schemaHead + customerMembers + `, "identified_at": {"$ref": "#/$defs/time"}, "identified_by": {"$ref": "#/$defs/text"}` + schemaTail
	customerChanges      = schemaHead + customerMembers + `, "changed": {"$ref": "#/$defs/names", "description": "The names of the fields."}` + schemaTail
	customerNotes        = schemaHead + noteMembers + schemaTail
	customerNotesDeleted = schemaHead + noteMembers + `, "deleted_at": {"$ref": "#/$defs/time"}` + schemaTail
)
