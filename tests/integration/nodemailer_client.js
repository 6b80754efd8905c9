// nodemailer_client.js - sends messages with nodemailer as a platform does; one JSON object as its argument:
// {modules, options (of createTransport), unix (a socket's path), messages, parallel}. Prints what each call
// gave, as a JSON list.
"use strict";
const net = require("net");
const path = require("path");
const task = JSON.parse(require("fs").readFileSync(0, "utf8"));
const nodemailer = require(path.join(task.modules, "nodemailer"));

function transportOptions() {
    const options = { logger: false, ...task.options };
    if (task.unix) options.getSocket = (_, callback) => callback(null, { connection: net.connect(task.unix) });
    return options;
}

async function main() {
    const transport = nodemailer.createTransport(transportOptions());
    const send = (message) =>
        transport.sendMail(message).then(
            (info) => ({ accepted: info.accepted, rejected: info.rejected, response: info.response }),
            (error) => ({ error: error.message, code: error.responseCode }));
    let results;
    if (task.parallel) results = await Promise.all(task.messages.map(send));
    else {
        results = [];
        for (const message of task.messages) results.push(await send(message));
    }
    transport.close();
    console.log(JSON.stringify(results));
}
main();
