-- Asks Voxgate about a request: `http-request lua.voxgate`. Needs HAProxy 2.6 or later with Lua.
-- VOXGATE_URL is the address of the authorizer, such as http://voxgate:8082

local url = (os.getenv("VOXGATE_URL") or "http://voxgate:8082") .. "/authorize/haproxy"

-- Headers in which a client can send its key: docs/reference/dialects.md lists them.
local credentials = {
    "authorization", "x-api-key", "xi-api-key", "x-goog-api-key", "ocp-apim-subscription-key",
    "x-vapi-secret", "x-sup-api-key",
}

-- What a client could send to be somebody else, or to name another request.
local function is_spoofable(name)
    return name:find("^x%-original%-") or name:find("^x%-forwarded%-") or name:find("^x%-voxgate%-")
        or name == "x-request-id" or name == "forwarded" or name == "x-real-ip"
end

-- They belong to one connection, or frame the body, which is not sent along.
local own = {
    ["connection"] = true, ["content-length"] = true, ["transfer-encoding"] = true,
    ["expect"] = true, ["te"] = true, ["upgrade"] = true, ["host"] = true, ["keep-alive"] = true,
}

local function refuse(txn, status, headers, body)
    local reply = txn:reply({ status = status })
    for name, values in pairs(headers or {}) do
        if not own[name] then
            for _, value in pairs(values) do
                reply:add_header(name, value)
            end
        end
    end
    reply:set_body(body or "")
    txn:done(reply)
end

core.register_action("voxgate", { "http-req" }, function(txn)
    local headers, given = {}, txn.http:req_get_headers()
    for name, values in pairs(given) do
        if not own[name] and not is_spoofable(name) then
            headers[name] = {}
            for at, value in pairs(values) do
                headers[name][at + 1] = value
            end
        end
    end
    headers["x-original-method"] = { txn.f:method() }
    -- The target as the client sent it. HAProxy has it whole, with an authority in HTTP/2.
    headers["x-original-uri"] = { txn.f:pathq() }
    headers["x-original-host"] = { txn.f:req_hdr("host") }
    headers["x-forwarded-for"] = { txn.f:src() }
    if given["upgrade"] then
        headers["x-original-upgrade"] = { given["upgrade"][0] }
    end

    local answer = core.httpclient():get({ url = url, headers = headers, timeout = 5000 })
    if answer == nil or answer.status == nil or answer.status == 0 then
        return refuse(txn, 503)
    end
    if answer.status ~= 200 then
        return refuse(txn, answer.status, answer.headers, answer.body)
    end

    for name, _ in pairs(given) do
        if is_spoofable(name) then
            txn.http:req_del_header(name)
        end
    end
    for _, name in ipairs(credentials) do
        txn.http:req_del_header(name)
    end
    -- Who calls, and the key that the TTS server requires, if Voxgate has one.
    for _, name in ipairs({ "x-voxgate-key-id", "x-request-id", "authorization" }) do
        if answer.headers[name] then
            txn.http:req_set_header(name, answer.headers[name][0])
        end
    end
    txn.http:req_set_header("x-forwarded-for", headers["x-forwarded-for"][1])
    -- Without a credential in the query.
    local target = answer.headers["x-voxgate-target"][0]
    if target ~= headers["x-original-uri"][1] then
        txn.http:req_set_uri(target)
    end
end, 0)
